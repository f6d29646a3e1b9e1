"""Goal: new settings, new endpoint files and a new binary take over under load, and not one request is lost.

The front here never repeats a write: what a worker drops, the client sees.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid

import pytest

import processes
import weir as house

SCHEMA = "CREATE TABLE jots (tenant TEXT, id TEXT, text TEXT);"

HANDLERS = {
    "jot.sql": "-- POST /t/jots\n-- body text: text\nINSERT INTO jots (tenant, id, text) VALUES (:tenant, :idempotency_key, :text);\n",
    "version.sql": "-- GET /t/version\n-- returns: one\nSELECT 1 AS version;\n",
    "bulky.sql": "-- GET /t/bulky\n-- returns: one\nSELECT hex(zeroblob(30000)) AS filler;\n",
}

# The front's own second try is off for what may have been sent, as nginx does by itself for POST.
FRONT = """
%(user)s
pid %(folder)s/nginx.pid;
error_log %(folder)s/error.log warn;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path %(folder)s/body;
	fastcgi_temp_path %(folder)s/fastcgi;
	proxy_temp_path %(folder)s/proxy;
	scgi_temp_path %(folder)s/scgi;
	uwsgi_temp_path %(folder)s/uwsgi;
	upstream weir {
		server unix:%(socket)s;
		keepalive 16;
		keepalive_timeout 1s;
	}
	server {
		listen 127.0.0.1:%(port)d;
		location / {
			include %(root)s/nginx/fastcgi_weir.conf;
			fastcgi_pass weir;
		}
	}
}
"""

STRICT = "fastcgi_next_upstream error non_idempotent;", "fastcgi_next_upstream off;"


def start_front(folder, state):
    """A single server, no second try: its port, and nginx."""
    os.makedirs(folder)
    port = processes.free_port()
    root = house.ROOT
    with open(os.path.join(root, "nginx", "fastcgi_weir.conf")) as f:
        params = f.read()
    assert STRICT[0] in params
    os.makedirs(os.path.join(folder, "nginx"))
    with open(os.path.join(folder, "nginx", "fastcgi_weir.conf"), "w") as f:
        f.write(params.replace(*STRICT))
    user = "user root root;" if os.getuid() == 0 else ""
    config = FRONT % {"folder": folder, "socket": os.path.join(state, "weir.sock"), "port": port, "root": folder, "user": user}
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as f:
        f.write(config)
    log = os.path.join(folder, "error.log")
    argv = ["nginx", "-p", folder, "-c", path, "-e", log, "-g", "daemon off;"]
    nginx = processes.start(argv, log=log, end_signal=signal.SIGQUIT)
    processes.wait_until(lambda: house.port_answers(port), "the front", alive=[nginx])
    return port, nginx


class Load:
    """Reads and writes through a front, each answer counted: `lost` is what must be 0."""

    def __init__(self, weir, port, clients=6):
        self.weir, self.port = weir, port
        self.stop = threading.Event()
        self.lost, self.accepted = [], set()
        self.answers = 0
        self.versions = set()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, n):
        turn = n
        while not self.stop.is_set():
            turn += 1
            try:
                (self.write, self.read, self.read_much)[turn % 3]()
            except Exception as e:
                self.lost.append(repr(e))

    def note(self, reply, want):
        with self.lock:
            self.answers += 1
            if reply.status != want:
                self.lost.append(repr(reply))

    def write(self):
        key = uuid.uuid4().hex
        reply = self.weir.post("/t/jots", {"text": key}, key, port=self.port)
        self.note(reply, 202)
        if reply.status == 202:
            self.accepted.add(key)

    def read(self):
        reply = self.weir.get("/t/version", port=self.port)
        self.note(reply, 200)
        if reply.status == 200:
            self.versions.add(reply.json()["version"])

    def read_much(self):
        self.note(self.weir.get("/t/bulky", port=self.port), 200)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def __enter__(self):
        processes.wait_until(lambda: self.answers > 50, "load")
        return self

    def __exit__(self, *_):
        self.end()


@pytest.fixture
def strict(request, make_weir):
    """A weir with workers that drain fast, and a strict front of its own."""

    def make(env=None):
        weir = make_weir(HANDLERS, {"WEIR_WORKERS": 2, "WEIR_DRAIN": "2s", **(env or {})}, SCHEMA)
        port, nginx = start_front(os.path.join(weir.folder, "front"), weir.state)

        def end():
            processes.stop(nginx)
            processes.kill_group(nginx)

        request.addfinalizer(end)
        return weir, port

    return make


def events(weir, name):
    return [line for line in weir.log_lines() if line.get("event") == name]


def wait_event(weir, name, count=1, timeout=60):
    processes.wait_until(lambda: len(events(weir, name)) >= count, name, timeout, alive=[weir.serve])
    return events(weir, name)[-1]


def reload(weir):
    """HUP, and until nobody of before is left."""
    done, before = len(events(weir, "reloaded")), set(weir.members())
    weir.serve.send_signal(signal.SIGHUP)
    wait_event(weir, "reloaded", done + 1)
    processes.wait_until(lambda: not before & set(weir.members()), "the old workers' end", 30)


def set_version(weir, n):
    path = os.path.join(weir.folder, "handlers", "version.sql")
    with open(path, "w") as f:
        f.write(HANDLERS["version.sql"].replace("1 AS", f"{n} AS"))


def check_applied(weir, load):
    def applied():
        return weir.rows("SELECT count(*) FROM jots")[0][0] >= len(load.accepted)

    processes.wait_until(applied, "every accepted write", 60)
    assert sorted(row[0] for row in weir.rows("SELECT id FROM jots")) == sorted(load.accepted)


def test_hup_brings_new_endpoint_files_and_loses_no_request(strict):
    weir, port = strict()
    with Load(weir, port) as load:
        for n in (2, 3):
            set_version(weir, n)
            reload(weir)
        processes.wait_until(lambda: 3 in load.versions, "the new files")
    assert load.lost == []
    assert load.answers > 300 and load.versions == {1, 2, 3}
    assert weir.get("/t/version", port=port).json()["version"] == 3
    check_applied(weir, load)


def test_hup_brings_new_settings_and_keeps_what_was_counted(strict):
    weir, port = strict()
    path = os.path.join(weir.folder, ".env")
    with open(path, "w") as f:
        f.write("LOG_FORMAT=json\n")
    set_limit = HANDLERS["version.sql"].replace("-- returns", "-- limit: 5/h\n-- returns")
    with open(os.path.join(weir.folder, "handlers", "version.sql"), "w") as f:
        f.write(set_limit)
    reload(weir)
    used = [weir.get("/t/version", client="192.0.2.9").status for _ in range(6)]
    assert used == [200] * 5 + [429]
    with open(path, "a") as f:
        f.write("WEIR_MAX_BODY=100\n")
    reload(weir)
    assert weir.post("/t/jots", {"text": "x" * 200}, "k").status == 413
    assert weir.get("/t/version", client="192.0.2.9").status == 429, "limits live on"


@pytest.mark.parametrize(
    "setting, expected",
    [("WEIR_WORKER=3", "WEIR_WORKERS"), ("WEIR_CACHE_BYTES=8m", "restart"), ("WEIR_THREADS=none", "WEIR_THREADS")],
)
def test_a_bad_setting_is_refused_with_its_reason_and_all_stays(strict, setting, expected):
    weir, port = strict({"WEIR_CACHE_BYTES": None, "WEIR_THREADS": None})
    members = weir.members()
    with open(os.path.join(weir.folder, ".env"), "w") as f:
        f.write(setting + "\n")
    weir.serve.send_signal(signal.SIGHUP)
    wait_event(weir, "reload_refused")
    assert expected in weir.log()
    assert weir.members() == members and weir.get("/t/version", port=port).status == 200


def test_a_broken_endpoint_file_is_refused_with_file_and_line(strict):
    weir, port = strict()
    members = weir.members()
    with open(os.path.join(weir.folder, "handlers", "version.sql"), "w") as f:
        f.write("-- GET /t/version\n-- frobnicate: yes\nSELECT 1 AS version;\n")
    weir.serve.send_signal(signal.SIGHUP)
    wait_event(weir, "reload_refused")
    assert "version.sql:2" in weir.log() and "frobnicate" in weir.log()
    assert weir.members() == members and weir.get("/t/version", port=port).json() == {"version": 1}


def test_a_canary_that_fails_is_taken_back(strict):
    """The file is well, and fails on every request."""
    weir, port = strict()
    before = weir.workers()
    with Load(weir, port) as load:
        path = os.path.join(weir.folder, "handlers", "version.sql")
        with open(path, "w") as f:
            f.write("-- GET /t/version\n-- returns: one\nSELECT 2 AS version FROM not_there;\n")
        weir.serve.send_signal(signal.SIGHUP)
        line = wait_event(weir, "reload_rolled_back")
        assert "fails more often" in line["why"]
        processes.wait_until(lambda: len(weir.workers()) >= 2, "the workers")
        time.sleep(0.5)
        failed = len(load.lost)
        time.sleep(1)
        assert len(load.lost) == failed, "once it is gone nothing fails any more"
    assert load.versions == {1}
    assert set(weir.workers()) & set(before), "one of the old is there all the time"
    check_applied(weir, load)


def test_a_second_hup_comes_after_the_first(strict):
    weir, port = strict()
    set_version(weir, 2)
    weir.serve.send_signal(signal.SIGHUP)
    wait_event(weir, "reload_begins")
    set_version(weir, 3)
    weir.serve.send_signal(signal.SIGHUP)
    wait_event(weir, "reloaded", 2)
    assert weir.get("/t/version", port=port).json()["version"] == 3


def test_usr2_goes_over_to_the_new_binary_and_loses_no_request(strict, binary):
    weir, port = strict()
    own = os.path.join(weir.folder, "weir")
    shutil.copy(binary, own)
    processes.stop(weir.serve)
    weir.binary = own
    weir.start_serve()
    weir.wait_healthy()
    pid, before = weir.serve.pid, set(weir.members())
    with Load(weir, port) as load:
        for n in (1, 2):
            fresh = own + ".new"
            shutil.copy(binary, fresh)
            with open(fresh, "ab") as f:
                f.write(b"\0" * n)  # another file, as a package's upgrade brings
            os.rename(fresh, own)
            weir.serve.send_signal(signal.SIGUSR2)
            wait_event(weir, "taken_over", n)
            assert os.path.samefile(f"/proc/{pid}/exe", own)
        processes.wait_until(lambda: not before & set(weir.members()), "the old workers' end", 30)
    assert load.lost == [] and load.answers > 300
    assert weir.serve.pid == pid and weir.serve.poll() is None
    assert {os.path.realpath(f"/proc/{m}/exe") for m in weir.members()} == {own}
    check_applied(weir, load)
    status = weir.status()
    kinds = [m["kind"] for m in status["members"]]
    assert kinds.count("supervisor") == 1
    assert weir.command("serve").returncode == 1, "the lock is still held"
    reload(weir)  # and it goes on as any other


def test_a_new_binary_that_cannot_run_is_taken_back(strict, binary):
    weir, port = strict()
    own = os.path.join(weir.folder, "weir")
    shutil.copy(binary, own)
    processes.stop(weir.serve)
    weir.binary = own
    weir.start_serve()
    weir.wait_healthy()
    with open(own + ".new", "w") as f:
        f.write("#!/bin/sh\nexit 1\n")
    os.chmod(own + ".new", 0o700)
    os.rename(own + ".new", own)
    with Load(weir, port) as load:
        weir.serve.send_signal(signal.SIGUSR2)
        wait_event(weir, "reload_rolled_back")
    assert load.lost == [] and weir.get("/t/version", port=port).status == 200
    shutil.copy(binary, own)  # for the commands that follow


def test_workers_that_are_told_to_drain_lose_no_request(strict):
    weir, port = strict({"WEIR_WORKERS": 3})
    with Load(weir, port) as load:
        for _ in range(6):
            os.kill(weir.workers()[0], signal.SIGQUIT)
            time.sleep(0.3)
    assert load.lost == [] and load.answers > 300
    check_applied(weir, load)


def test_the_loss_that_this_file_looks_for_would_be_seen(strict):
    """The same load, and a worker that dies: a strict front has nobody else to ask."""
    weir, port = strict({"WEIR_WORKERS": 1})
    with Load(weir, port) as load:
        os.kill(weir.workers()[0], signal.SIGKILL)
        time.sleep(1)
    assert load.lost != []


def run_wrk(port, seconds):
    script = os.path.join(house.ROOT, "tests", "bench", "load.lua")
    argv = ["wrk", "-t2", "-c16", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{port}/t/jots", "--", "write", uuid.uuid4().hex]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_thousands_of_writes_a_second_lose_none_to_a_reload(strict):
    weir, port = strict({"LOG_LEVEL": "warn"})
    wrk = run_wrk(port, 9)
    time.sleep(1)
    with open(os.path.join(weir.folder, ".env"), "w") as f:
        f.write("WEIR_THREADS=8\n")
    weir.serve.send_signal(signal.SIGHUP)
    out = wrk.communicate(timeout=60)[0]
    figures = json.loads(out.strip().splitlines()[-1])
    assert figures["refused"] == 0 and figures["broken"] == 0, figures
    assert figures["requests"] > 1000


class Systemd:
    """Stands in for systemd: sockets on descriptor 3 and what follows, and an ear for notifications."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify.sock")
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.ear.bind(self.path)
        self.ear.settimeout(20)
        self.listening = []

    def listen(self, path):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.bind(path)
        s.listen(64)
        self.listening.append(s)
        return self

    def hear(self, want):
        """The next datagram that says so; what was not awaited is passed over."""
        while True:
            said = self.ear.recv(1000).decode()
            if want in said:
                return said

    def start(self, weir):
        """As systemd does between fork and exec: LISTEN_PID is the pid of who is started."""
        env = {**weir.env, "NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "2000000", "LISTEN_FDS": str(len(self.listening))}
        fds = [s.fileno() for s in self.listening]
        moves = "".join(f"os.dup2({fd}, {3 + i}, inheritable=True);" for i, fd in enumerate(fds))
        code = f"import os,sys;{moves}os.environ['LISTEN_PID']=str(os.getpid());os.execv(sys.argv[1], sys.argv[1:])"
        with open(weir.log_path, "ab") as log:
            argv = ["/usr/bin/python3", "-c", code, weir.binary, "serve"]
            weir.serve = subprocess.Popen(argv, env=env, cwd=weir.folder, stdout=log, stderr=log, pass_fds=fds)

    def close(self):
        for s in [self.ear, *self.listening]:
            s.close()


@pytest.fixture
def systemd(new_state):
    made = Systemd(new_state)
    yield made
    made.close()


def test_systemd_gives_the_sockets_and_hears_what_happens(weirs, systemd, request):
    weir = weirs(HANDLERS, {"WEIR_WORKERS": 2, "WEIR_DRAIN": "1s"}, SCHEMA, front=False)
    request.addfinalizer(weir.stop)
    house.make_state(weir.state)
    weir.make_database()
    for name in ("weir.sock", "admin.sock"):
        systemd.listen(os.path.join(weir.state, name))
    systemd.start(weir)
    assert systemd.hear("READY=1").splitlines()[1] == f"MAINPID={weir.serve.pid}"
    weir.wait_healthy()
    assert weir.admin("/live").status == 200, "the second socket is the admin's"
    systemd.hear("WATCHDOG=1")
    weir.serve.send_signal(signal.SIGHUP)
    systemd.hear("RELOADING=1")
    systemd.hear("READY=1")
    weir.serve.send_signal(signal.SIGUSR2)
    systemd.hear("RELOADING=1")
    systemd.hear("READY=1")
    wait_event(weir, "taken_over")
    assert weir.fcgi("GET", "/t/version").status == 200 and weir.admin("/live").status == 200
    systemd.hear("WATCHDOG=1")
    weir.serve.send_signal(signal.SIGTERM)
    systemd.hear("STOPPING=1")
    assert weir.serve.wait(20) == 0
    assert os.path.exists(os.path.join(weir.state, "weir.sock")), "its path is systemd's"


def test_systemd_need_not_give_the_admins_socket(weirs, systemd, request):
    weir = weirs(HANDLERS, {"WEIR_WORKERS": 1}, SCHEMA, front=False)
    request.addfinalizer(weir.stop)
    house.make_state(weir.state)
    weir.make_database()
    systemd.listen(os.path.join(weir.state, "weir.sock")).start(weir)
    systemd.hear("READY=1")
    weir.wait_healthy()
    assert weir.admin("/live").status == 200
