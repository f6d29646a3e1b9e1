"""Goal: every answer is read by who asked, however large the body was that nobody wanted, and who is gone costs nothing."""

import contextlib
import json
import threading
import time

import pytest

import fcgi
import processes

SCHEMA = "CREATE TABLE notes (id TEXT, text TEXT);"

SLOW = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {}) SELECT count(*) AS n FROM c;\n"

HANDLERS = {
    "one.sql": "-- GET /t/one\n-- cache: 1h\nSELECT 1 AS one;\n",
    "row.sql": "-- GET /t/rows/:id\n-- param id: integer\n-- returns: one\nSELECT 1 AS one WHERE :id = 1;\n",
    "wait.sql": "-- GET /t/wait/:word\n-- param word: text\n-- cache: 1h\n-- timeout: 20s\n"
    + SLOW.format("3000000 + length(:word)"),
    "endless.sql": "-- GET /t/endless\n-- timeout: 2s\n" + SLOW.format(1 << 60),
    "refreshed.sql": "-- GET /t/refreshed\n-- cache: 1s, stale 1h\n-- timeout: 20s\n"
    "SELECT CASE WHEN (SELECT count(*) FROM notes) = 0 THEN 0 ELSE (" + SLOW.format(1 << 60).rstrip(";\n") + ") END AS n;\n",
    "note.sql": "-- POST /t/notes\n-- body text: text\nINSERT INTO notes (id, text) VALUES (:idempotency_key, :text);\n",
    "roomy.sql": "-- POST /t/roomy\n-- body text: text\n-- max-body: 6m\n"
    "INSERT INTO notes (id, text) VALUES (:idempotency_key, :text);\n",
}


def small(make_weir, **env):
    """One worker with one thread."""
    return make_weir(HANDLERS, {"WEIR_WORKERS": 1, "WEIR_THREADS": 1, **env}, SCHEMA)


def from_weir(reply, status):
    """The answer is weir's own, not nginx's for a server that it took for broken."""
    assert reply.status == status, reply
    assert reply.header("X-Request-Id") is not None, reply
    return reply


# ---- Answered before the body was read ---------------------------------------

REFUSALS = [
    ("POST", "/nowhere", 404),
    ("POST", "/t/one", 405),
    ("PUT", "/t/notes", 405),
    ("POST", "/t/notes/%00", 400),
    ("POST", "/t/notes", 413),
]


@pytest.mark.parametrize("size", [70_000, 300_000, 1 << 20, 8 << 20])
@pytest.mark.parametrize("method, target, status", REFUSALS)
def test_a_large_body_that_nobody_wants_is_no_failure_to_nginx(weir, method, target, status, size):
    if status == 413:
        size += 1 << 20
    reply = weir.request(method, target, {"Content-Type": "application/json", "Idempotency-Key": "k"}, b"x" * size)
    if "%00" in target:
        assert reply.status == 400  # nginx refuses some of these by itself
    else:
        from_weir(reply, status)


def test_the_connection_stays_good_after_a_large_body_that_nobody_wanted(weir):
    with weir.connect() as connection:
        for method, target, status in REFUSALS[:3]:
            assert connection.request(method, target, body=b"x" * (1 << 20)).status == status
            assert connection.request("GET", "/t/one").status == 200


def test_a_body_that_lies_about_its_length_is_refused_whatever_its_size(weir):
    for size, promised in ((200_000, "5"), (200_000, "300000"), (3 << 20, "17")):
        with weir.connect() as connection:
            headers = [("Content-Type", "application/json"), ("Idempotency-Key", "k")]
            answer = connection.request("POST", "/t/notes", headers, b"x" * size, CONTENT_LENGTH=promised)
            assert answer.status in (400, 413)
            assert connection.request("GET", "/t/one").status == 200


def endless(content):
    """Records of a body whose end does not come."""
    return fcgi.stream(fcgi.STDIN, content)[: -fcgi.HEADER_BYTES]


def large_head():
    """The beginning of a request whose body is large."""
    params = fcgi.params_for("POST", "/t/notes", [("Content-Type", "application/json")], CONTENT_LENGTH="900000")
    return fcgi.records(params)[: -fcgi.HEADER_BYTES] + endless(b"x" * 80_000)


def test_when_no_lane_is_left_to_read_a_body_the_answer_arrives_all_the_same(make_weir):
    weir = small(make_weir)
    with contextlib.ExitStack() as stack:

        def send(count):
            for _ in range(count):
                stack.enter_context(weir.connect()).send(large_head())

        send(65)  # one is being read, 64 may wait
        for shed in (1, 2):  # the second time for certain after the first body has left the queue
            send(2)
            processes.wait_until(lambda: weir.counter("shed") >= shed, "one to be shed")
        headers = [("Content-Type", "application/json"), ("Idempotency-Key", "k")]
        assert weir.fcgi("POST", "/t/notes", headers, b"x" * 900_000).status == 503
        assert weir.fcgi("POST", "/nowhere", headers, b"x" * 900_000).status == 404
        reply = weir.post("/t/notes", key="k", body=b"x" * 900_000)
        assert 1 <= int(from_weir(reply, 503).header("Retry-After")) <= 4
        assert weir.get("/api/v1/health").status == 200
    processes.wait_until(lambda: weir.post("/t/notes", {"text": "x"}, "k").status == 202, "a free lane")


def test_a_body_that_never_ends_is_refused_and_its_sender_let_go(make_weir):
    weir = small(make_weir)
    with weir.connect() as connection:
        part = endless(b"x" * (1 << 20))
        connection.send(large_head())
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                connection.send(part)
            pytest.fail("200 MiB were taken")
    assert weir.get("/t/one").status == 200


# ---- Fronts that go ----------------------------------------------------------


def test_who_has_finished_sending_is_answered_and_closed_although_it_asked_to_be_kept(weir):
    with weir.connect() as connection:
        connection.send(fcgi.records(fcgi.params_for("GET", "/t/one"), keep=True))
        connection.finish_sending()
        assert connection.read_answer().status == 200
        assert connection.is_closed_by_peer()


def test_who_leaves_while_it_waits_for_another_answer_is_let_go_at_once(make_weir):
    weir = small(make_weir)
    leader = weir.connect()
    leader.send(fcgi.records(fcgi.params_for("GET", "/t/wait/gone")))
    processes.wait_until(lambda: weir.counter("cache_requests", level="l1", result="miss") >= 1, "the leader")
    waiter = weir.connect()
    waiter.send(fcgi.records(fcgi.params_for("GET", "/t/wait/gone")))
    processes.wait_until(lambda: weir.counter("cache_requests", level="l1", result="collapsed") >= 1, "the waiter")
    answered = weir.counter("requests", code="200")
    waiter.close()
    processes.wait_until(lambda: weir.counter("abandoned") == 1, "the waiter to be let go")
    lines = [line for line in weir.log_lines() if line.get("path") == "/t/wait/gone"]
    assert [line["status"] for line in lines if line["status"] == 499] == [499]
    assert leader.read_answer().status == 200
    leader.close()
    assert weir.counter("requests", code="200") == answered + 1


def test_nobody_asks_the_database_for_who_is_gone(make_weir):
    weir = small(make_weir)
    first = weir.connect()
    first.send(fcgi.records(fcgi.params_for("GET", "/t/endless")))
    processes.wait_until(lambda: weir.status()["members"], "the pool")
    queued = [weir.connect() for _ in range(20)]
    for connection in queued:
        connection.send(fcgi.records(fcgi.params_for("GET", "/t/rows/1")))
    for connection in queued:
        connection.close()
    assert first.read_answer().status in (503, 504)
    first.close()
    processes.wait_until(lambda: weir.counter("abandoned") == 20, "all to be let go")
    assert weir.counter("queries") <= 2, "the first's, and at most one that was quicker"


# ---- Crowds ------------------------------------------------------------------


def test_hundreds_who_wait_for_one_answer_all_get_it_from_one_query(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_WORKERS": 2}, SCHEMA)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(weir.connect(timeout=60)) for _ in range(900)]
        for connection in crowd:
            connection.send(fcgi.records(fcgi.params_for("GET", "/t/wait/crowd")))
        answers = [connection.read_answer() for connection in crowd]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert weir.counter("queries") == 1


def test_large_bodies_get_their_turn_while_reads_crowd_the_lanes(make_weir):
    weir = small(make_weir)
    stop = threading.Event()

    def read_on():
        with weir.connect(timeout=60) as connection:
            while not stop.is_set():
                assert connection.request("GET", "/t/rows/1").status == 200

    readers = [threading.Thread(target=read_on) for _ in range(8)]
    for reader in readers:
        reader.start()
    try:
        for i in range(5):
            assert weir.post("/t/notes", {"text": "x" * 500_000}, f"turn-{i}", timeout=20).status == 202
    finally:
        stop.set()
        for reader in readers:
            reader.join()


# ---- Sizes -------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x", "\\u00e9", "\\n", "\\\""], ids=["plain", "accents", "lines", "quotes"])
def test_the_largest_body_that_is_allowed_fits_in_memory(make_weir, text):
    weir = small(make_weir, WEIR_MAX_BODY="64k", WEIR_MAX_RESPONSE="16k")
    count = ((6 << 20) - 64) // len(text)
    reply = weir.post("/t/roomy", key="k", body=b'{"text":"' + (text * count).encode() + b'"}')
    assert reply.status == 202, reply
    weir.wait_operation(reply.header("Location"), timeout=60)
    assert weir.rows("SELECT length(text) FROM notes") == [(count,)]


@pytest.mark.parametrize(
    "target, headers, status",
    [("/t/one", [], 200), ("/t/rows/2", [], 404), ("/nowhere", [], 404), ("/t/one", [("If-None-Match", "*")], 304)],
)
def test_head_tells_the_length_and_sends_no_body(weir, target, headers, status):
    with weir.connect() as connection:
        get = connection.request("GET", target, headers)
        head = connection.request("HEAD", target, headers)
        assert (get.status, head.status) == (status, status)
        assert head.body == b"" and len(get.body) == int(get.header("Content-Length") or 0)
        if status == 304:
            assert get.header("Content-Length") is None and get.body == b""
        if status == 200:
            assert head.header("Content-Length") == get.header("Content-Length")


# ---- The end -----------------------------------------------------------------


def test_a_refresh_that_does_not_end_does_not_hold_up_the_end(make_weir):
    weir = small(make_weir)
    assert weir.get("/t/refreshed").json() == [{"n": 0}]
    assert weir.post("/t/notes", {"text": "from now on it is endless"}, "k").status == 202
    processes.wait_until(lambda: weir.rows("SELECT count(*) FROM notes") == [(1,)], "the write")
    stale = processes.wait_until(
        lambda: [r for r in [weir.get("/t/refreshed")] if "detail=stale" in r.header("Cache-Status")], "a stale answer"
    )
    assert stale[0].status == 200
    began = time.monotonic()
    assert processes.stop(weir.serve)
    assert time.monotonic() - began < 15, "the statement had 20 s"


def test_what_was_being_sent_when_the_end_came_is_not_cut(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_WORKERS": 1}, SCHEMA)
    with weir.connect(timeout=60) as connection:
        connection.send(fcgi.records(fcgi.params_for("GET", "/t/wait/end")))
        processes.wait_until(lambda: weir.counter("cache_requests", level="l1", result="miss") >= 1, "the request to be in hand")
        ender = threading.Thread(target=processes.stop, args=(weir.serve,))
        ender.start()
        answer = connection.read_answer()
        ender.join()
    assert answer.status == 200 and json.loads(answer.body)
