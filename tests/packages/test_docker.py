"""Goal: the steps of the Dockerfile make a system in which weir serves, as its own user; here without an engine."""

import os
import re

import pytest

import dockerfile
import fcgi
import processes
import weir as house

DOCKER = os.path.join(house.ROOT, "app", "deploy", "docker")


@pytest.fixture(scope="module")
def image():
    with dockerfile.image(os.path.join(DOCKER, "Dockerfile"), house.ROOT) as made:
        yield made


@pytest.fixture(scope="module")
def container(image, tmp_path_factory):
    """CMD, on a loopback port instead of all addresses: the network here is everybody's."""
    log = str(tmp_path_factory.mktemp("container") / "log")
    listen = f"127.0.0.1:{processes.free_port()}"
    process = image.start(*image.command, log=log, env={"WEIR_LISTEN": listen})

    def answers():
        try:
            return fcgi.request(listen, "GET", "/api/v1/health", timeout=5).status == 200
        except (OSError, fcgi.Closed):
            return False

    try:
        processes.wait_until(answers, "the health answer", alive=[process])
        yield process, listen
    finally:
        processes.stop(process)


def test_nothing_is_healthy_before_it_is_started(image):
    assert image.run(*image.health, check=False).returncode == 1


def test_weir_serves_as_its_own_user(image, container):
    process, listen = container
    hello = fcgi.request(listen, "GET", "/api/v1/hello/you")
    assert (hello.status, hello.body) == (200, b'{"greeting":"Hello, you!"}')
    assert os.stat(f"/proc/{process.pid}").st_uid == 10001
    assert image.run(*image.health).returncode == 0


def test_what_it_writes_is_in_the_volume(image, container):
    assert image.described["VOLUME"] == image.env["WEIR_STATE_DIR"] == "/var/lib/weir"
    assert os.path.exists(image.system.path("/var/lib/weir/spool"))
    own = image.system.run("find", "/", "-xdev", "-user", "weir", "-not", "-path", "/var/lib/weir*", "-not", "-path", "/proc/*", "-not", "-path", "/dev/*")
    assert own.stdout == ""


def test_the_compilers_stay_behind(image):
    assert image.run("sh", "-c", "command -v gcc || command -v make", check=False).returncode != 0


def test_the_front_of_compose_reaches_it(container, tmp_path):
    """compose's nginx.conf in our nginx: only names and ports are other ones."""
    _, listen = container
    port = processes.free_port()
    text = open(os.path.join(DOCKER, "nginx.conf")).read()
    text = text.replace("weir:9000", listen).replace("listen 80;", f"listen 127.0.0.1:{port};")
    text = text.replace("include fastcgi_weir.conf", f"include {house.ROOT}/nginx/fastcgi_weir.conf")
    temp = "".join(f"{n}_temp_path {tmp_path}/{n};" for n in ("client_body", "fastcgi", "proxy", "scgi", "uwsgi"))
    config = tmp_path / "nginx.conf"
    config.write_text(f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {temp} {text} }}")
    log = str(tmp_path / "error.log")
    nginx = processes.start(["nginx", "-p", str(tmp_path), "-c", str(config), "-e", log, "-g", "daemon off;"], log=log)
    try:
        processes.wait_until(lambda: house.port_answers(port), "nginx", alive=[nginx])
    finally:
        processes.stop(nginx)
        processes.kill_group(nginx)


def test_a_container_that_is_stopped_ends_in_order(image, tmp_path):
    log = str(tmp_path / "log")
    listen = f"127.0.0.1:{processes.free_port()}"
    env = {"WEIR_LISTEN": listen, "WEIR_STATE_DIR": "/tmp/another"}
    process = image.start(*image.command, log=log, env=env)
    processes.wait_until(lambda: "worker_ready" in open(log).read(), "a worker", alive=[process])
    process.send_signal(getattr(processes.signal, image.described["STOPSIGNAL"]))
    assert process.wait(20) == 0 and re.search(r'"event":"stopped"', open(log).read())
