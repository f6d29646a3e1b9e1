"""Goal: weir is the same behind every front server; where a front has bounds of its own, they are known.

The same tests run through each class of support/fronts.py.  What they see becomes a cell of the table in the README:
`make fronts` writes it, and the last test compares.
"""

import gzip
import http.client
import json
import os
import re
import subprocess
import threading
import time
import uuid

import fronts
import processes
import pytest
import weir as house

ENV = {"WEIR_WORKERS": 2, "WEIR_MAX_BODY": "4m", "LOG_LEVEL": "warn"}

HANDLERS = {
    "things.sql": "-- GET /api/v1/things/:n\n-- param n: integer, min 1, max 100000\n-- max-rows: 100000\n-- cache: 1h\n"
    "-- cors: https://app.example\n"
    "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < :n)\n"
    "SELECT i AS n, 'thing number ' || i AS name FROM s;\n",
    "narrow.sql": "-- GET /api/v1/narrow\n-- limit: 2/h\nSELECT 1 AS one;\n",
    "jots.sql": "-- GET /api/v1/jots/:id\n-- param id: text\n-- returns: one\n"
    "SELECT id, length(text) AS length FROM jots WHERE id = :id;\n",
    "jot.sql": "-- POST /api/v1/jots\n-- cors: https://app.example\n-- body text: text, max 2000000\n-- max-body: 1200k\n"
    "INSERT INTO jots (id, text) VALUES (:idempotency_key, :text);\n",
}
SCHEMA = "CREATE TABLE jots (id TEXT PRIMARY KEY, text TEXT);"

TABLE = os.path.join(os.path.dirname(__file__), "fronts.md")  # as `make fronts` saw it
SEEN = os.path.join(house.ROOT, "build", "fronts.md")

COLUMNS = [
    "reads",
    "writes",
    "limits",
    "cache",
    "304",
    "compression",
    "CORS",
    "API keys",
    "1 MiB body",
    "body over the bound",
    "slow and aborted clients",
    "HEAD, OPTIONS",
    "HTTP/2",
    "restart under load",
]
cells = {front.title: {} for front in fronts.ALL}


@pytest.fixture(scope="module", params=fronts.ALL, ids=lambda front: front.__name__)
def front(request, weirs, end_weir):
    made = weirs(HANDLERS, ENV, SCHEMA, kind=request.param)
    request.addfinalizer(lambda: end_weir(made, request))
    return made.start()


def saw(front, column, text="yes"):
    assert column in COLUMNS
    cells[front.title][column] = text


def jot(front, key, text, headers=None):
    return front.post("/api/v1/jots", {"text": text}, key, headers)


def is_problem(reply, status):
    assert reply.status == status, reply
    assert reply.header("Content-Type") == "application/problem+json", reply
    assert reply.json()["status"] == status
    return True


# ---- What every endpoint does ------------------------------------------------


def test_reads(front):
    reply = front.get("/api/v1/things/2?ignored=1")
    assert reply.status == 200 and reply.header("Content-Type") == "application/json"
    assert reply.json() == [{"n": 1, "name": "thing number 1"}, {"n": 2, "name": "thing number 2"}]
    assert re.fullmatch(r"[A-Za-z0-9_.@-]{8,128}", reply.header("X-Request-Id"))
    assert front.get("/api/v1/things/2?fields=n").json() == [{"n": 1}, {"n": 2}]
    assert is_problem(front.get("/api/v1/things/0"), 400)
    assert is_problem(front.get("/api/v1/nothing"), 404)
    encoded = front.get("/api/v1/jots/a%2Fb")
    if front.raw_paths:
        assert is_problem(encoded, 400), "weir sees the path as it was sent"
    else:
        assert encoded.status == 404
    saw(front, "reads", "yes" if front.raw_paths else "yes; `%2F` is the front's 404")


def test_writes(front):
    first = jot(front, "k1", "one")
    assert first.status == 202 and first.json()["eventId"] == "k1", first
    front.wait_operation(first.header("Location"))
    assert front.get("/api/v1/jots/k1").json() == {"id": "k1", "length": 3}
    again = jot(front, "k1", "one")
    assert again.status == 202 and again.header("Idempotent-Replayed") == "true"
    assert again.json() == first.json()
    assert is_problem(jot(front, "k1", "another"), 422)
    assert is_problem(jot(front, None, "x"), 400)
    assert is_problem(front.post("/api/v1/jots", body=b"{", key="k2"), 400)
    saw(front, "writes")


def test_limits(front):
    replies = [front.get("/api/v1/narrow", client="198.51.100.7") for _ in range(3)]
    assert [r.status for r in replies] == [200, 200, 429]
    assert replies[0].header("RateLimit-Policy") == '"default";q=2;w=3600'
    assert [r.header("X-RateLimit-Remaining") for r in replies] == ["1", "0", "0"]
    assert is_problem(replies[2], 429) and 0 < int(replies[2].header("Retry-After")) <= 3600
    assert replies[2].json()["error"] == "Rate limit exceeded"
    assert front.get("/api/v1/narrow", client="198.51.100.8").status == 200, "another client has its own"
    saw(front, "limits")


def test_cache(front):
    first, second = front.get("/api/v1/things/3"), front.get("/api/v1/things/3")
    assert first.header("Cache-Status") == "weir; fwd=uri-miss; stored"
    assert re.fullmatch(r"weir; hit; ttl=\d+; detail=l1", second.header("Cache-Status")), second
    assert int(second.header("Age")) < 60 and second.header("Cache-Control") == "public, max-age=3600"
    assert second.body == first.body
    saw(front, "cache")


def test_conditional_requests(front):
    etag = front.get("/api/v1/things/4").header("ETag")
    reply = front.get("/api/v1/things/4", {"If-None-Match": etag})
    assert reply.status == 304 and reply.body == b"" and reply.header("ETag") == etag
    packed = front.get("/api/v1/things/500", {"Accept-Encoding": "gzip"})
    assert front.get("/api/v1/things/500", {"If-None-Match": packed.header("ETag")}).status == 304
    assert front.get("/api/v1/things/500", {"If-None-Match": '"other"'}).status == 200
    saw(front, "304")


def test_compression(front):
    plain = front.get("/api/v1/things/400")
    assert plain.header("Content-Encoding") is None
    found = []
    for coding in ("gzip", "br"):
        reply = front.get("/api/v1/things/400", {"Accept-Encoding": coding})
        if reply.header("Content-Encoding") == coding:
            found.append(coding)
            assert len(reply.body) < len(plain.body) / 3 and "Accept-Encoding" in ",".join(all_of(reply, "Vary"))
            assert coding != "gzip" or gzip.decompress(reply.body) == plain.body
        else:
            assert reply.body == plain.body
    assert tuple(found) == front.codings
    saw(front, "compression", ", ".join(found) or front.no_coding)


def all_of(reply, name):
    return [value for key, value in reply.headers if key.lower() == name.lower()]


def test_pages_of_other_origins(front):
    ours, theirs = "https://app.example", "https://other.example"
    for _ in range(2):  # from the database, then from the cache
        for origin, allowed in ((ours, ours), (theirs, None), (None, None)):
            reply = front.get("/api/v1/things/5", {"Origin": origin} if origin else {})
            assert reply.header("Access-Control-Allow-Origin") == allowed
            assert "Origin" in re.split(", ?", ",".join(all_of(reply, "Vary")))
    asked = {"Origin": ours, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    reply = front.request("OPTIONS", "/api/v1/things/5", asked)
    assert reply.status == 204 and reply.header("Access-Control-Allow-Origin") == ours
    assert reply.header("Access-Control-Allow-Methods") == "GET, HEAD"
    assert "Authorization" in reply.header("Access-Control-Allow-Headers")
    written = jot(front, "from-a-page", "x", {"Origin": ours})
    assert written.status == 202 and "Location" in written.header("Access-Control-Expose-Headers")
    follow = front.get(written.header("Location"), {"Origin": ours})
    assert follow.header("Access-Control-Allow-Origin") == ours, "who may write may see what became of it"
    saw(front, "CORS")


def test_keys_reach_weir(front):
    for headers in ({"Authorization": "Bearer wk_nobodys"}, {"X-API-Key": "wk_nobodys"}):
        assert is_problem(front.get("/api/v1/things/2", headers), 401)
    saw(front, "API keys")


def test_methods(front):
    got, head = front.get("/api/v1/things/6"), front.request("HEAD", "/api/v1/things/6")
    assert head.status == 200 and head.body == b"" and head.header("ETag") == got.header("ETag")
    assert head.header("Content-Length") in (None, got.header("Content-Length"))
    options = front.request("OPTIONS", "/api/v1/things/6")
    assert options.status == 204 and options.header("Allow") == "GET, HEAD, OPTIONS"
    refused = front.post("/api/v1/things/6", {}, "k3")
    assert is_problem(refused, 405) and refused.header("Allow") == "GET, HEAD, OPTIONS"
    saw(front, "HEAD, OPTIONS")


# ---- Bodies ------------------------------------------------------------------


def test_large_bodies(front):
    large = front.get("/api/v1/things/50000")
    assert large.status == 200 and len(large.json()) == 50000 and len(large.body) > 1_900_000
    reply = jot(front, "large", "x" * (1 << 20))
    if front.body_limit is not None and front.body_limit < 1 << 20:
        assert reply.status == front.refuses_with, reply
        saw(front, "1 MiB body", "no")
        return
    assert reply.status == 202, reply
    front.wait_operation(reply.header("Location"))
    assert front.get("/api/v1/jots/large").json()["length"] == 1 << 20
    too_large = jot(front, "larger", "x" * 1_500_000)
    assert is_problem(too_large, 413) and "1228800" in too_large.json()["detail"]
    saw(front, "1 MiB body")


def size_name(n):
    return f"{n >> 20} MiB" if n >= 1 << 20 else f"{n >> 10} KiB"


def test_a_body_over_the_fronts_own_bound(front):
    """The front answers before it has read all of it, so only what a client can read is asked for."""
    bound = front.body_limit or 16 << 20
    reply = jot(front, "far-too-large", "x" * (bound + 1))
    problem = reply.header("Content-Type") == "application/problem+json"
    kind = "problem+json" if problem else "its own page"
    assert reply.status == front.refuses_with, reply
    assert front.get("/api/v1/jots/far-too-large").status == 404
    if problem and "instance" in reply.json():  # nginx's own have none
        saw(front, "body over the bound", f"{reply.status} by weir")
    else:
        saw(front, "body over the bound", f"{size_name(bound)}: {reply.status}, {kind}")


# ---- Clients that behave badly -----------------------------------------------


def open_client(front):
    connection = front.http_connection(front.port)
    connection.connect()
    return connection.sock


def head_of(method, target, **headers):
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def test_slow_clients(front):
    """One sends a body by bytes, one reads a large answer slowly; meanwhile everybody else is served."""
    body = json.dumps({"text": "slow"}).encode()
    sender, reader = open_client(front), open_client(front)
    head = head_of("POST", "/api/v1/jots", Idempotency_Key="slow", Content_Type="application/json", Content_Length=len(body))
    reader.sendall(head_of("GET", "/api/v1/things/50000"))
    sender.sendall(head)
    for at in range(len(body)):
        sender.sendall(body[at : at + 1])
        if at % 4 == 0:
            reader.recv(1000)
            assert front.get("/api/v1/things/7").status == 200
    assert b" 202 " in sender.recv(1000).split(b"\r\n")[0]
    read = b""
    while piece := reader.recv(1 << 20):
        read += piece
    assert read.rstrip().endswith(b"]") or read.endswith(b"\r\n0\r\n\r\n"), "the whole answer arrived"
    sender.close()
    reader.close()


def test_aborted_clients(front):
    """Nothing stays held for who has gone, and a write that came by half never was."""
    text = "x" * 3000
    half = json.dumps({"text": text}).encode()[:1500]
    for i in range(10):
        with open_client(front) as s:
            s.sendall(head_of("GET", f"/api/v1/things/{20000 + i}"))
        with open_client(front) as s:
            s.sendall(head_of("POST", "/api/v1/jots", Idempotency_Key=f"half{i}", Content_Length=3013) + half)
        with open_client(front) as s:
            s.sendall(b"GET /api/v1/thi")
    for i in range(10):
        assert front.get(f"/api/v1/jots/half{i}").status == 404
    reply = jot(front, "half0", text)
    assert reply.status == 202 and reply.header("Idempotent-Replayed") is None
    saw(front, "slow and aborted clients")


# ---- HTTP/2 ------------------------------------------------------------------


def test_http2(front):
    if front.scheme != "https":
        saw(front, "HTTP/2", "no TLS here")
        return
    curl = ["curl", "-sS", "--cacert", front.certificate(), "--http2", "-D", "-", "-o", "/dev/null"]
    head = subprocess.run([*curl, front.url("/api/v1/things/8")], check=True, capture_output=True, text=True).stdout
    assert head.startswith("HTTP/2 200") and "cache-status: weir;" in head
    write = [*curl, "--json", '{"text": "h2"}', "-H", "Idempotency-Key: h2", front.url("/api/v1/jots")]
    assert subprocess.run(write, check=True, capture_output=True, text=True).stdout.startswith("HTTP/2 202")
    load = ["h2load", "-n", "2000", "-c", "4", "-m", "16", front.url("/api/v1/things/8")]
    out = subprocess.run(load, check=True, capture_output=True, text=True).stdout
    assert "2000 succeeded, 0 failed, 0 errored" in out and "status codes: 2000 2xx" in out, out
    saw(front, "HTTP/2", "yes")


# ---- A front that is restarted -----------------------------------------------


class Load:
    """Reads and writes, each on a connection of its own: what a front promises to keep through its reload."""

    def __init__(self, front, threads=4):
        self.front, self.ended = front, threading.Event()
        self.lost, self.accepted, self.answers = [], [], 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]

    def one(self, i, n):
        if n % 2 == 0:
            return self.front.get(f"/api/v1/things/{n % 5 + 1}"), None
        key = f"load-{i}-{n}-{uuid.uuid4().hex[:8]}"
        return jot(self.front, key, key), key

    def run(self, i):
        n = 0
        while not self.ended.is_set():
            n += 1
            try:
                reply, key = self.one(i, n)
                bad = None if reply.status in (200, 202) else reply
            except (OSError, http.client.HTTPException) as e:
                bad, key = e, None
            with self.lock:
                self.answers += 1
                if bad is not None:
                    self.lost.append(bad)
                elif key is not None:
                    self.accepted.append(key)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for t in self.threads:
            t.join()


def check_applied(front, load):
    """Every 202 became a row, once."""

    def all_there():
        return {row[0] for row in front.rows("SELECT id FROM jots")} >= set(load.accepted)

    processes.wait_until(all_there, "the accepted writes")


def test_a_reload_of_the_front_loses_no_request(front):
    if not front.reloads:
        saw(front, "restart under load", "not promised")
        return
    with Load(front) as load:
        for _ in range(3):
            time.sleep(0.5)
            front.reload()
        time.sleep(0.5)
    assert load.lost == [] and load.answers > 100
    check_applied(front, load)
    saw(front, "restart under load", "reload: none lost")


# ---- The table ---------------------------------------------------------------


def row_of(title):
    return "| " + " | ".join([title, *(cells[title].get(column, "") for column in COLUMNS)]) + " |"


def table():
    head = ["| front | " + " | ".join(COLUMNS) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    return "\n".join([*head, *(row_of(front.title) for front in fronts.ALL)]) + "\n"


def test_the_table_in_the_readme_is_what_was_seen():
    """Runs last.  After a change of what fronts can do: make fronts."""
    whole = [title for title in cells if len(cells[title]) == len(COLUMNS)]
    if len(whole) == len(fronts.ALL):
        with open(SEEN, "w") as f:
            f.write(table())
    with open(SEEN if os.environ.get("WEIR_FRONTS") == "write" else TABLE) as f:  # writing: there is nothing to compare with
        rows = f.read().splitlines()
    assert whole, "no front went through all tests"
    for title in whole:
        assert row_of(title) in rows, f"{title}: another table than in the README: make fronts"
