"""Goal: what `make install` puts in place is right: units, manual pages, settings, log rotation; and weir works under its unit.

What is slow (chroots, the Debian package, the static build, the Dockerfile) is in tests/packages: make test-packages.
"""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import yaml

import fcgi
import processes
import seccomp
import weir as house

DEPLOY = os.path.join(house.ROOT, "app", "deploy")
UNIT = os.path.join(DEPLOY, "systemd", "weir.service")
MAX_EXPOSURE = 2.0  # of systemd-analyze security; 10 is a service without any restriction

HELLO = os.path.join(DEPLOY, "handlers", "hello.sql")


def run(*argv, **how):
    return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, **how)


def make(*argv):
    """As from a shell: our own make's job server is not for it."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = run("make", *argv, cwd=house.ROOT, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


def settings_of_the_code():
    with open(os.path.join(house.ROOT, "app", "runtime", "config_keys.inc")) as f:
        return re.findall(r"^CONFIG\(\w+, \"(\w+)\"", f.read(), re.M)


def tree(folder):
    return {
        os.path.relpath(os.path.join(at, name), folder): os.stat(os.path.join(at, name)).st_mode & 0o777
        for at, _, names in os.walk(folder)
        for name in names
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("root"))
    make("install", f"DESTDIR={folder}", "PREFIX=/usr")
    return folder


# ---- make install ------------------------------------------------------------


def test_install_puts_everything_under_destdir(installed):
    files = tree(installed)
    for path, mode in {
        "usr/bin/weir": 0o755,
        "usr/lib/systemd/system/weir.service": 0o644,
        "usr/lib/systemd/system/weir.socket": 0o644,
        "usr/lib/tmpfiles.d/weir.conf": 0o644,
        "usr/share/man/man1/weir.1": 0o644,
        "usr/share/man/man5/weir-endpoint.5": 0o644,
        "usr/share/doc/weir/html/docs/index.html": 0o644,
        "usr/share/doc/weir/html/docs/changes.html": 0o644,
        "usr/share/weir/handlers/example/hello.sql": 0o644,
        "usr/share/weir/nginx/fastcgi_weir.conf": 0o644,
        "etc/weir/weir.env": 0o640,
        "etc/logrotate.d/weir": 0o644,
    }.items():
        assert files.get(path) == mode, path
    assert os.path.isdir(os.path.join(installed, "etc/weir/handlers"))


def test_the_manual_is_a_web_page_that_stands_alone(installed):
    folder = os.path.join(installed, "usr/share/doc/weir/html/docs")
    for name in ("index.html", "changes.html"):
        with open(os.path.join(folder, name)) as f:
            page = f.read()
        assert not re.search(r"@\w+@", page) and "<script" not in page and not re.search(r'(src|rel)="', page)
        ids = re.findall(r'\bid="([^"]+)"', page)
        assert len(ids) == len(set(ids)) > 1
        links = set(re.findall(r'href="([^"]+)"', page))
        assert all(link[1:] in ids for link in links if link[0] == "#")
        assert all(os.path.exists(os.path.join(folder, link)) for link in links if link[0] != "#" and "://" not in link)
    with open(os.path.join(folder, "index.html")) as f:
        assert "<code>WEIR_STATE_DIR</code>" in f.read()  # the tables are tables


def test_a_link_that_leads_nowhere_stops_the_manual(tmp_path):
    source = tmp_path / "text.md"
    source.write_text("# Title\n\n## Here\n\n[there](#there) [here](#here) [code](app/main.c)\n")
    render = [os.path.join(DEPLOY, "html", name) for name in ("render", "page.html")]
    done = run("/usr/bin/python3", "-B", *render, str(source))
    assert done.returncode == 1 and done.stderr.endswith("links to headings that are not there: there\n")
    source.write_text("# Title\n\n## Here\n\n[here](#here) [code](app/main.c)\n")
    done = run("/usr/bin/python3", "-B", *render, str(source))
    assert done.returncode == 0 and '<a href="#here">here</a> code' in done.stdout


def test_installed_files_name_the_binary_where_it_is(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/weir")
    unit = seccomp.Unit(tmp_path / "opt/weir/lib/systemd/system/weir.service")
    assert unit.one("ExecStart").split()[0] == "/opt/weir/bin/weir"
    assert (tmp_path / "opt/weir/bin/weir").exists()


def test_a_second_install_leaves_the_settings_alone(tmp_path):
    make("install", f"DESTDIR={tmp_path}")
    settings = tmp_path / "etc/weir/weir.env"
    settings.write_text("RATE_LIMIT_POINTS=7\n")
    make("install", f"DESTDIR={tmp_path}")
    assert settings.read_text() == "RATE_LIMIT_POINTS=7\n"


def test_uninstall_leaves_only_what_is_the_users(tmp_path):
    make("install", f"DESTDIR={tmp_path}")
    (tmp_path / "etc/weir/handlers/mine.sql").write_text("")
    make("uninstall", f"DESTDIR={tmp_path}")
    assert set(tree(tmp_path)) == {"etc/weir/weir.env", "etc/weir/handlers/mine.sql"}


def test_the_settings_that_are_installed_are_good(installed, binary, tmp_path):
    """Only their folders are not those of this machine."""
    text = open(os.path.join(installed, "etc/weir/weir.env")).read()
    settings = tmp_path / "weir.env"
    settings.write_text(re.sub(r"=(unix:)?/(var|run|etc)/", rf"=\1{tmp_path}/", text))
    for folder in ("lib", "log/weir", "weir/handlers"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(HELLO, tmp_path / "weir/handlers")
    check = run(binary, "check", "--env-file", str(settings), env=house.clean_environment())
    assert (check.returncode, check.stdout) == (0, "3 endpoints, no faults\n"), check.stderr


# ---- The version and the manual pages ----------------------------------------


def test_the_version_names_every_engine(binary):
    version = run(binary, "--version")
    assert version.returncode == 0 and re.match(r"weir \d+\.\d+\.\d+\n", version.stdout)
    for engine in ("SQLite", "PostgreSQL", "Redis", "Kafka", "OTLP"):
        assert re.search(rf"^  {engine} +built in \(", version.stdout, re.M), version.stdout


@pytest.mark.parametrize("page", ["man1/weir.1", "man5/weir-endpoint.5"])
def test_a_manual_page_has_no_fault(installed, page):
    path = os.path.join(installed, "usr/share/man", page)
    lint = run("mandoc", "-T", "lint", "-W", "warning", path)
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")
    shown = run("man", "--warnings", "--local-file", path, env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
    assert shown.returncode == 0 and shown.stderr == "" and "NAME" in shown.stdout


def test_the_manual_tells_every_command_setting_and_directive(installed, binary):
    def text_of(page):
        path = os.path.join(installed, "usr/share/man", page)
        env = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "200"}
        return run("man", "--local-file", path, env=env).stdout

    weir, endpoint = text_of("man1/weir.1"), text_of("man5/weir-endpoint.5")
    usage = run(binary, "--help").stdout
    commands = re.findall(r"^  (\w+) ", usage, re.M)
    settings = settings_of_the_code()
    rows = open(os.path.join(house.ROOT, "app/service/directives.inc")).read()
    directives = re.findall(r"^(?:DIRECTIVE|LATER)\(\"([\w-]+)\"", rows, re.M)
    assert len(commands) > 10 and len(settings) > 30 and len(directives) > 15
    assert [c for c in commands if f"   weir {c}" not in weir] == []
    assert [s for s in settings if not re.search(rf"^       {s}$", weir, re.M)] == []
    assert [d for d in directives if not re.search(rf"^       {d}( NAME| \[NAME\])?:", endpoint, re.M)] == []


# ---- systemd -----------------------------------------------------------------


def test_systemd_takes_the_units(installed):
    units = [os.path.join(installed, "usr/lib/systemd/system", name) for name in ("weir.service", "weir.socket")]
    text = open(units[0]).read()
    with open(units[0], "w") as f:  # verify looks for the binary outside of the root it is given
        f.write(text.replace("/usr/bin/weir", os.path.join(installed, "usr/bin/weir")))
    verify = run("systemd-analyze", "verify", "--man=no", *units)
    with open(units[0], "w") as f:
        f.write(text)
    assert (verify.returncode, verify.stderr) == (0, "")


def test_the_unit_is_hardened():
    security = run("systemd-analyze", "security", "--offline=yes", UNIT, env={**os.environ, "LC_ALL": "C.UTF-8"})
    exposure = re.search(r"Overall exposure level for weir.service: ([\d.]+)", security.stdout)
    assert exposure and float(exposure.group(1)) < MAX_EXPOSURE, security.stdout
    unit = seccomp.Unit(UNIT)
    for name, value in {
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "",
        "MemoryDenyWriteExecute": "yes",
        "StateDirectory": "weir",
        "RuntimeDirectory": "weir",
        "KillMode": "mixed",
        "Type": "notify",
    }.items():
        assert unit.one(name) == value


def test_the_units_restrictions_are_in_force_where_a_test_uses_them():
    """Else the test below would show nothing."""
    under = [sys.executable, seccomp.__file__, UNIT]
    status = run(*under, "cat", "/proc/self/status").stdout
    assert re.search(r"^Seccomp:\s2$", status, re.M) and re.search(r"^NoNewPrivs:\s1$", status, re.M)
    assert re.search(r"^CapBnd:\s0+$", status, re.M) or os.getuid() != 0
    assert run(*under, "mount", "-t", "tmpfs", "none", "/mnt").returncode in (-signal.SIGSYS, 128 + signal.SIGSYS)
    packet = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"
    assert run(*under, sys.executable, "-c", packet).returncode == -signal.SIGSYS


def test_weir_works_under_its_units_restrictions(make_weir):
    """Reads, writes, a reload, another binary, a worker that is killed: no call that the filter refuses is made."""
    weir = make_weir(
        handlers={
            "hello.sql": open(HELLO).read(),
            "note.sql": "-- POST /t/notes\n-- body text: text\nINSERT INTO notes (id, text) VALUES (:idempotency_key, :text);\n",
            "notes.sql": "-- GET /t/notes\nSELECT id, text FROM notes;\n",
        },
        schema="CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT);",
        env={"WEIR_DRAIN": "1s"},
        start=False,
    )
    weir.serve_prefix = [sys.executable, seccomp.__file__, UNIT]
    weir.start()

    def exercise(key):
        assert weir.get("/api/v1/hello/you").json() == {"greeting": "Hello, you!"}
        written = weir.post("/t/notes", {"text": "milk"}, key=key)
        assert written.status == 202
        weir.wait_operation(written.header("Location"))
        assert key in [note["id"] for note in weir.get("/t/notes").json()]

    def replace_by(signal_number):
        before = set(weir.workers())
        weir.serve.send_signal(signal_number)
        processes.wait_until(lambda: len(weir.workers()) == 2 and not before & set(weir.workers()), "other workers", 60)

    exercise("first")
    victim = weir.workers()[0]
    os.kill(victim, signal.SIGKILL)
    processes.wait_until(lambda: len(weir.workers()) == 2 and victim not in weir.workers(), "another worker")
    exercise("killed")
    replace_by(signal.SIGHUP)
    exercise("reloaded")
    replace_by(signal.SIGUSR2)
    exercise("upgraded")
    assert "SIGSYS" not in weir.log() and weir.serve.poll() is None
    ended = [line for line in weir.log_lines() if line["event"] == "child_ended" and line["child"] != victim]
    assert ended and all(line["code"] == 0 for line in ended), ended


# ---- logrotate ---------------------------------------------------------------


def test_logrotate_moves_the_log_and_weir_writes_a_new_one(make_weir, tmp_path):
    weir = make_weir(handlers={"hello.sql": open(HELLO).read()}, start=False)
    log = tmp_path / "log" / "weir.log"
    log.parent.mkdir()
    weir.env["LOG_FILE"] = str(log)
    weir.start()
    processes.wait_until(lambda: "hello" in log.read_text() or weir.get("/api/v1/hello/a") is None, "a line in the log")
    text = open(os.path.join(DEPLOY, "logrotate", "weir")).read()
    text = text.replace("/var/log/weir", str(log.parent)).replace("/var/lib/weir", weir.state)
    text = re.sub(r"^\tsu .*\n|^\tcreate .*\n", "", text, flags=re.M)  # there is no user weir here
    config, state = tmp_path / "logrotate.conf", tmp_path / "logrotate.state"
    config.write_text(text)
    rotate = run(processes.program("logrotate"), "--force", "--state", str(state), str(config))
    assert rotate.returncode == 0, rotate.stderr
    rotated = tmp_path / "log" / "weir.log.1"
    assert "hello" in rotated.read_text()
    processes.wait_until(lambda: log.exists(), "a new log")
    assert fcgi.request(weir.listen, "GET", "/api/v1/hello/b").status == 200
    processes.wait_until(lambda: "/api/v1/hello/b" in log.read_text(), "its line in the new log")
    size = rotated.stat().st_size
    assert weir.get("/api/v1/hello/c").status == 200 and rotated.stat().st_size == size


def test_logrotate_sends_no_signal_to_who_has_a_dead_weirs_number(tmp_path):
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "serve.lock").write_text(f"{stranger.pid}\n")
        text = open(os.path.join(DEPLOY, "logrotate", "weir")).read()
        script = re.search(r"postrotate\n(.*)\tendscript", text, re.S).group(1).replace("/var/lib/weir", str(tmp_path))
        assert run("sh", "-e", "-c", script).returncode == 0
        assert stranger.poll() is None  # USR1 would have ended it
    finally:
        stranger.kill()
        stranger.wait()


# ---- compose.yaml ------------------------------------------------------------


def test_the_docker_files_name_only_what_is_there():
    """No engine reads them here, so their names are compared with what they name."""
    docker = os.path.join(DEPLOY, "docker")
    with open(os.path.join(docker, "compose.yaml")) as f:
        compose = yaml.safe_load(f)
    services, weir = compose["services"], compose["services"]["weir"]
    mounts = [m.replace("${HANDLERS:-../handlers}", "../handlers") for s in services.values() for m in s.get("volumes", [])]
    sources = [m.split(":")[0] for m in mounts]
    files = [s for s in sources if s.startswith(".")]
    assert len(files) == 3 and all(os.path.exists(os.path.join(docker, f)) for f in files)
    assert {s for s in sources if not s.startswith(".")} == set(compose["volumes"])
    context = os.path.join(docker, weir["build"]["context"])
    assert os.path.samefile(context, house.ROOT)
    assert os.path.exists(os.path.join(context, weir["build"]["dockerfile"]))
    with open(os.path.join(docker, "Dockerfile")) as f:
        given = list(weir["environment"]) + re.findall(r"\b(WEIR_\w+)=", f.read())
    assert len(given) > 6 and set(given) <= set(settings_of_the_code())
    with open(os.path.join(docker, "fleet.env")) as f:
        fleet = dict(line.strip().split("=", 1) for line in f if "=" in line)
    assert set(fleet) - {"POSTGRES_PASSWORD"} <= set(weir["environment"])
    hosts = {host for value in fleet.values() for host in re.findall(r"([a-z]+):\d+", value)}
    assert hosts == {"pgbouncer", "redis", "kafka"} and hosts <= {n for n, s in services.items() if "fleet" in s.get("profiles", [])}
