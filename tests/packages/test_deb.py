"""Goal: the Debian package is clean, installs, runs, is upgraded under load without a lost request, and goes away again."""

import http.client
import os
import re
import subprocess
import threading
import uuid

import pytest

import chroot
import deb
import processes
import weir as house

NOTES = "-- POST /t/notes\n-- body text: text\nINSERT INTO notes (id, text) VALUES (:idempotency_key, :text);\n"
SETTINGS = "/etc/weir/weir.env"
LOADERS = 4


@pytest.fixture(scope="module")
def system():
    """A Debian 12 with the package; its weir is started by hand, for no systemd runs there."""
    with chroot.copy_of("bookworm") as made:
        made.run("apt-get", "update")
        deb.install(made, deb.package())
        yield made


class Installed:
    """weir serve as the unit starts it: its user, its groups, its settings."""

    def __init__(self, system, folder):
        self.system, self.folder = system, str(folder)
        self.serve = self.nginx = None
        self.port = processes.free_port()

    def start(self):
        system = self.system
        system.run("install", "-d", "-o", "weir", "-g", "weir", "/run/weir")  # weir.tmpfiles
        system.run("cp", "/usr/share/weir/handlers/example/hello.sql", "/etc/weir/handlers/")
        with open(system.path("/etc/weir/handlers/note.sql"), "w") as f:
            f.write(NOTES)
        self.serve = system.start(
            "weir",
            "serve",
            "--env-file",
            SETTINGS,
            user="weir:www-data",
            env={"RATE_LIMIT_POINTS": "1000000"},
            log=os.path.join(self.folder, "out.log"),
        )
        sockets = [system.path("/run/weir/" + name) for name in ("weir.sock", "admin.sock")]
        config = os.path.join(self.folder, "nginx.conf")
        with open(config, "w") as f:
            render = [os.path.join(house.ROOT, "nginx", "render"), self.folder, f"127.0.0.1:{self.port}", *sockets]
            subprocess.run(render, check=True, stdout=f)
        log = os.path.join(self.folder, "error.log")
        self.nginx = processes.start(
            ["nginx", "-p", self.folder, "-c", config, "-e", log, "-g", "daemon off;"], log=log
        )
        processes.wait_until(
            lambda: house.port_answers(self.port), "the health answer", alive=[self.serve, self.nginx]
        )
        return self

    def stop(self):
        processes.stop(self.nginx)
        processes.kill_group(self.nginx)
        processes.stop(self.serve)

    def log(self):
        with open(self.system.path("/var/log/weir/weir.log")) as f:
            return f.read()

    def request(self, method, target, key=None, body=None):
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"} if key else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return house.Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


@pytest.fixture
def installed(system, tmp_path):
    made = Installed(system, tmp_path)
    yield made.start()
    made.stop()


def test_lintian_finds_nothing():
    run = subprocess.run(
        ["lintian", "--allow-root", "--pedantic", "--display-info", "--fail-on=error,warning,info,pedantic", deb.package()],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (0, "")


def test_the_package_has_the_version_that_the_binary_tells(system):
    assert system.run("weir", "--version").stdout.splitlines()[0] == f"weir {deb.version_of(deb.package())}"


def test_it_makes_a_user_and_its_folders(system):
    (line,) = [x for x in open(system.path("/etc/passwd")) if x.startswith("weir:")]
    uid, gid = map(int, line.split(":")[2:4])
    assert uid < 1000
    for folder, mode in (("/var/lib/weir", 0o700), ("/var/log/weir", 0o750)):
        st = os.stat(system.path(folder))
        assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (uid, gid, mode)
    settings = os.stat(system.path(SETTINGS))
    assert (settings.st_uid, settings.st_gid, settings.st_mode & 0o777) == (0, gid, 0o640)


def test_what_a_person_edits_is_a_conffile(system):
    listed = system.run("dpkg-query", "-W", "-f", "${Conffiles}", "weir").stdout
    assert re.findall(r"^ (\S+) ", listed, re.M) == ["/etc/logrotate.d/weir", "/etc/weir/weir.env"]


def test_the_web_servers_group_reaches_the_socket_and_nobody_else(installed):
    system = installed.system
    hello = installed.request("GET", "/api/v1/hello/you")
    assert (hello.status, hello.body) == (200, b'{"greeting":"Hello, you!"}')
    st = os.stat(system.path("/run/weir/weir.sock"))
    assert (st.st_gid, st.st_mode & 0o777) == (33, 0o660)  # www-data
    assert os.stat(system.path("/var/lib/weir/weir.db")).st_mode & 0o777 == 0o600


def test_an_upgrade_under_load_goes_over_to_the_new_binary_and_loses_nothing(installed, tmp_path):
    system = installed.system
    newer = deb.make_newer(deb.package(), tmp_path)
    before = os.stat(system.path("/usr/bin/weir")).st_ino
    failures, sent, stop = [], [0] * LOADERS, threading.Event()

    def load(i):
        while not stop.is_set():
            try:
                write = installed.request("POST", "/t/notes", str(uuid.uuid4()), b'{"text":"x"}')
                read = installed.request("GET", f"/api/v1/hello/n{sent[i] % 50}")
                failures.extend(r for r in (write, read) if r.status not in (200, 202))
            except OSError as e:
                failures.append(e)
            sent[i] += 2

    threads = [threading.Thread(target=load, args=(i,)) for i in range(LOADERS)]
    for thread in threads:
        thread.start()
    try:
        processes.wait_until(lambda: min(sent) > 20, "load")
        deb.install(system, newer)
        processes.wait_until(
            lambda: "taken_over" in installed.log() or "rolled_back" in installed.log(), "the new binary", timeout=60
        )
        after = [n + 20 for n in sent]
        processes.wait_until(lambda: all(n > m for n, m in zip(sent, after)), "more load")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == [], (len(failures), failures[0], sum(sent))
    exe = os.stat(f"/proc/{installed.serve.pid}/exe").st_ino
    assert exe != before and exe == os.stat(system.path("/usr/bin/weir")).st_ino
    assert installed.serve.poll() is None  # the same process


def test_removed_it_leaves_writes_and_settings_and_purged_nothing(system):
    with open(system.path("/var/lib/weir/kept"), "w"):
        pass
    system.run("apt-get", "remove", "-y", "weir")
    assert os.path.exists(system.path("/var/lib/weir/kept")) and os.path.exists(system.path(SETTINGS))
    system.run("rm", "-r", "/etc/weir/handlers")  # the user's own
    system.run("apt-get", "purge", "-y", "weir")
    left = [p for p in ("/var/lib/weir", "/var/log/weir", "/etc/weir", "/etc/logrotate.d/weir") if os.path.exists(system.path(p))]
    assert left == []
