"""Goal: Apache with its server configuration, lighttpd, spawn-fcgi and multiwatch all serve the same weir."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import threading
import time

import conftest
import place as place_of
import processes
import pytest
import weir as house

HANDLERS = {
    "one.sql": "-- GET /api/v1/one\n-- column one: integer\nSELECT 1 AS one;\n",
    "kept.sql": "-- GET /api/v1/kept\n-- cache: 10m\n-- column n: integer\nSELECT count(*) AS n FROM jots;\n",
    "few.sql": "-- GET /api/v1/few\n-- limit: 5/h\n-- column one: integer\nSELECT 1 AS one;\n",
    "jot.sql": "-- POST /api/v1/jots\n-- body text: text\n-- invalidates: kept\n"
    "INSERT INTO jots (id, text) VALUES (:idempotency_key, :text);\n",
    "who.sql": "-- GET /api/v1/who\n-- auth: optional\n-- column tenant: text\nSELECT :tenant AS tenant;\n",
    "code.sql": "-- GET /api/v1/codes/:code\n-- param code: text\n-- column code: text\nSELECT :code AS code;\n",
}
SCHEMA = "CREATE TABLE jots (id text PRIMARY KEY, text text);"
FCGID, PROXY = "mod_fcgid", "mod_proxy_fcgi"


@pytest.fixture
def place(request, binary):
    folder = conftest.new_folder()
    # multiwatch ends its children by what they take for a graceful stop.
    made = place_of.Place(folder, binary, HANDLERS, SCHEMA, {"WEIR_DRAIN": "1s"})

    def end():
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)

    request.addfinalizer(end)
    return made


LIGHTTPD = """
fastcgi.server = ("/api/" => ((
    "socket" => "{socket}",
    {how}
    "check-local" => "disable"
)))
"""


def start(place, front):
    if front == FCGID:
        return place.apache("weir.conf", "fcgid")
    if front == PROXY:
        place.serve()
        return place.apache("proxy_fcgi.conf", "proxy", "proxy_fcgi")
    if front == "lighttpd":
        how = f'"bin-path" => "{place.binary} worker --env-file {place.env_file}", "max-procs" => 2,'
        return place.lighttpd(LIGHTTPD.format(socket=place.socket, how=how))
    place.run(
        *["spawn-fcgi", "-n", "-s", place.socket, "-M", "0660", "--"],
        *([processes.program("multiwatch"), "-f", "2", "-s", "TERM", "--"] if front == "multiwatch" else []),
        *[place.binary, "worker", "--env-file", place.env_file],
    )
    return place.lighttpd(LIGHTTPD.format(socket=place.socket, how=""))


FRONTS = [FCGID, PROXY, "lighttpd", "spawn-fcgi", "multiwatch"]


@pytest.mark.parametrize("front", FRONTS)
def test_everything_works_through(place, front):
    start(place, front)
    assert place.get("/api/v1/one").json() == [{"one": 1}]
    first = place.get("/api/v1/kept")
    assert "hit" in place.get("/api/v1/kept").header("Cache-Status")
    same = place.get("/api/v1/kept", {"If-None-Match": first.header("ETag")})
    assert (same.status, same.body) == (304, b"")
    head = place.request("HEAD", "/api/v1/one")
    assert (head.status, head.body, head.header("Content-Length")) == (200, b"", "11")
    missing = place.get("/api/v1/nothing")
    assert (missing.status, missing.header("Content-Type")) == (404, "application/problem+json")
    assert place.get("/api/v1/codes/%C3%A9%20x?a=b").json() == [{"code": "é x"}]
    statuses = [r.status for r in house.all_at_once(12, lambda i: place.get("/api/v1/few"))]
    assert sorted(statuses) == [200] * 5 + [429] * 7
    assert place.post({"text": "x"}, "k1").status == 202
    processes.wait_until(lambda: place.ids() == {"k1"}, "the write")
    processes.wait_until(lambda: place.get("/api/v1/kept").json() == [{"n": 1}], "the purge")


@pytest.mark.parametrize("front", FRONTS)
def test_bodies_large_chunked_and_too_large_through(place, front):
    start(place, front)
    large = place.post({"text": "x" * 700000}, "large")
    assert large.status == 202, (large, open(place.front.log_path).read()[-3000:])
    body = json.dumps({"text": "y" * 100000}).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": "chunked"}
    chunked = place.request("POST", "/api/v1/jots", headers, iter([body[:10], body[10:]]), encode_chunked=True)
    assert chunked.status == 202, chunked
    refused = place.post({"text": "z" * 1100000}, "too large")
    assert (refused.status, refused.header("Content-Type")) == (413, "application/problem+json")
    processes.wait_until(lambda: place.ids() == {"large", "chunked"}, "the writes")


@pytest.mark.parametrize("front", FRONTS)
def test_a_key_arrives_and_a_tenant_cannot_be_written_through(place, front):
    start(place, front)
    made = place.command("key", "add", "acme")
    assert made.returncode == 0, made
    key = next(word for word in made.stdout.split() if word.startswith("weir_"))
    assert place.get("/api/v1/who", {"Authorization": "Bearer " + key}).json() == [{"tenant": "acme"}]
    for name in ("TENANT_ID", "Tenant-Id", "REDIRECT_TENANT_ID", "Redirect-Tenant-Id"):
        assert place.get("/api/v1/who", {name: "acme"}).json() == [{"tenant": ""}], name


@pytest.mark.parametrize("front", [FCGID, PROXY])
def test_apache_leaves_paths_as_they_were_sent(place, front):
    start(place, front)
    refused = place.get("/api/v1/codes/a%2Fb")
    assert (refused.status, refused.header("Content-Type")) == (400, "application/problem+json")


class Load:
    """Readers and writers that never stop; what was answered 202 is remembered."""

    def __init__(self, place, writers=3, readers=2):
        self.place = place
        self.accepted, self.bad_reads, self.reads = [], [], 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(i,)) for i in range(writers)]
        self.threads += [threading.Thread(target=self.read) for _ in range(readers)]
        for thread in self.threads:
            thread.start()

    def write(self, writer):
        for n in range(1000000):
            if self.stopping.is_set():
                return
            key = f"{writer}-{n}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.place.post({"text": key}, key).status == 202:
                    self.accepted.append(key)

    def read(self):
        while not self.stopping.is_set():
            try:
                reply = self.place.get("/api/v1/one")
                status = reply.status if reply.status == 200 else repr(reply)
            except (OSError, http.client.HTTPException) as e:
                status = repr(e)
            self.reads += 1
            if status != 200:
                self.bad_reads.append(status)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def goes_on(self):
        n = len(self.accepted)
        processes.wait_until(lambda: len(self.accepted) > n + 20, "that writes are accepted", 40)


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("front", [FCGID, PROXY, "lighttpd"])
def test_what_was_accepted_outlives_killed_processes_behind(place, front):
    start(place, front)
    load = Load(place)
    try:
        for _ in range(5):
            time.sleep(0.6)
            kill(processes.children_of(place.started[0].pid)[:2] if front == PROXY else place.front.weirs()[:1])
        load.goes_on()
    finally:
        load.stop()
    processes.wait_until(lambda: set(load.accepted) <= place.ids(), "all that was accepted", 40)


def test_a_reload_of_weir_loses_nothing_through_reused_connections(place):
    start(place, PROXY)
    load = Load(place)
    try:
        for _ in range(2):
            before = len(place.log("reloaded"))
            os.kill(place.started[0].pid, signal.SIGHUP)
            processes.wait_until(lambda: len(place.log("reloaded")) > before, "the reload", 60)
        load.goes_on()
    finally:
        load.stop()
    errors = [line for line in place.front.log().splitlines() if ":error" in line and "MinSpareThreads" not in line]
    assert load.reads > 50 and load.bad_reads == [], errors
    processes.wait_until(lambda: set(load.accepted) <= place.ids(), "all that was accepted", 40)


def test_apache_keeps_its_connections_to_weir(place):
    start(place, PROXY)
    kept = http.client.HTTPConnection("127.0.0.1", place.front.port, timeout=30)
    with contextlib.closing(kept):
        for _ in range(50):
            kept.request("GET", "/api/v1/one")
            assert kept.getresponse().read() == b'[{"one":1}]'
    status = place.command("status", "--json")
    assert status.returncode == 0, status
    assert len(connections_of(place.socket)) in range(1, 10)


def connections_of(path):
    """The accepted ends of a unix socket: those that carry its path, but for the listening one."""
    with open("/proc/net/unix") as f:
        lines = [line.split() for line in f if line.rstrip().endswith(path)]
    return [line for line in lines if line[5] == "03"]
