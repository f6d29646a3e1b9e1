"""Goal: with more to do than can be done, some are told so at once and all else goes on: what is cached, health, those who
ask for little; and nothing is begun that nobody waits for."""

import contextlib
import threading
import time

import fcgi
import processes

# About 20 ms here; what matters is only that many of them at once are too many.
WORK = """
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60000)
SELECT count(*) AS n, lower(hex(randomblob(4))) AS nonce FROM c;
"""

HANDLERS = {
    "work.sql": "-- GET /t/work\n-- returns: one\n" + WORK,
    "bulk.sql": "-- GET /t/bulk\n-- priority: bulk\n-- returns: one\n" + WORK,
    "cached.sql": "-- GET /t/cached\n-- cache: 1h\n-- returns: one\n" + WORK,
    "brown.sql": "-- GET /t/brown\n-- cache: 1s, if-error 1h\n-- returns: one\n" + WORK,
    "short.sql": "-- GET /t/short\n-- timeout: 500ms\n-- returns: one\nSELECT 1 AS n;\n",
    "known.sql": "-- GET /t/known\n-- timeout: 500ms\n-- cache: 1h\n-- returns: one\nSELECT 1 AS n;\n",
    "write.sql": """-- POST /t/write
-- timeout: 500ms
-- body text: text
INSERT INTO jots (id, text) VALUES (:idempotency_key, :text);
""",
    "slow.sql": """-- GET /t/slow
-- timeout: 20s
-- returns: one
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000000) SELECT count(*) AS n FROM c;
""",
}
SCHEMA = "CREATE TABLE jots (id TEXT, text TEXT);"
ENV = {"WEIR_WORKERS": 1, "WEIR_THREADS": 4}

REASONS = ("in_hand", "queue_full", "queue_wait", "concurrency", "tenant_share", "priority", "deadline", "abandoned")


class Crowd:
    """Clients that ask again as soon as they have an answer, all from one address."""

    def __init__(self, weir, target, client="192.0.2.1", count=80):
        self.weir, self.target, self.client = weir, target, client
        self.over = threading.Event()
        self.replies = []
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]

    def run(self):
        while not self.over.is_set():
            reply = self.weir.get(self.target, client=self.client)
            self.replies.append(reply)
            if reply.status == 503:
                time.sleep(0.02)  # a client that does not wait at all would only measure this process

    def shed(self):
        return [reply for reply in self.replies if reply.status == 503]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        try:
            processes.wait_until(lambda: len(self.shed()) > 20, "that it is too much", timeout=60)
        except Exception:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


def sheds(weir):
    """{reason: how many}"""
    return {reason: weir.counter("shed", reason=reason) for reason in REASONS}


def test_who_is_too_many_is_told_when_to_come_back_and_the_others_are_answered(weir):
    before = sheds(weir)
    with Crowd(weir, "/t/work") as crowd:
        pass
    statuses = {reply.status for reply in crowd.replies}
    assert statuses == {200, 503}
    waits = {int(reply.header("Retry-After")) for reply in crowd.shed()}
    assert waits <= {1, 2, 3, 4} and len(waits) > 1  # not all at once
    one = crowd.shed()[0]
    assert one.header("Content-Type") == "application/problem+json" and one.header("Cache-Control") == "no-store"
    assert one.json()["status"] == 503 and "lane" not in one.json()["detail"]
    after = sheds(weir)
    assert sum(after.values()) - sum(before.values()) == len(crowd.shed())
    assert {name for name in REASONS if after[name] > before[name]} & {"concurrency", "tenant_share", "queue_wait"}


def test_what_is_cached_and_health_are_answered_while_all_lanes_are_full(weir):
    tag = weir.get("/t/cached").header("ETag")
    with Crowd(weir, "/t/work"):
        for _ in range(30):
            cached = weir.get("/t/cached")
            assert cached.status == 200 and "hit" in cached.header("Cache-Status")
            assert weir.get("/t/cached", {"If-None-Match": tag}).status == 304
            assert weir.get("/api/v1/health").status == 200
            assert weir.admin("/live").status == 200
            assert weir.post("/t/write", {"text": "x"}, key=f"in-a-crowd-{_}").status == 202


def test_one_who_asks_for_little_is_served_beside_one_who_asks_for_all(weir):
    before = sheds(weir)
    with Crowd(weir, "/t/work", client="192.0.2.2") as crowd:
        answers = []
        for _ in range(40):
            answers.append(weir.get("/t/work", client="192.0.2.3").status)
            time.sleep(0.05)
    assert answers.count(200) >= 38, answers
    assert sheds(weir)["tenant_share"] > before["tenant_share"]
    assert len(crowd.shed()) > 20


def test_bulk_gives_way(weir):
    before = sheds(weir)
    with Crowd(weir, "/t/bulk", count=50) as bulk, Crowd(weir, "/t/work", client="192.0.2.4", count=50) as work:
        time.sleep(1)  # of load, not for something to happen
    part = {name: len(crowd.shed()) / len(crowd.replies) for name, crowd in (("bulk", bulk), ("work", work))}
    assert part["bulk"] > part["work"], part
    assert sheds(weir)["priority"] > before["priority"]


def test_an_old_copy_is_served_before_a_503(weir):
    before = weir.counter("browned_out")
    assert weir.get("/t/brown").status == 200
    with Crowd(weir, "/t/work", client="192.0.2.5"):

        def old():
            reply = weir.get("/t/brown", client="192.0.2.5")
            assert reply.status == 200  # whatever the load
            return reply if "detail=stale" in (reply.header("Cache-Status") or "") else None

        reply = processes.wait_until(old, "an old copy", timeout=60)
    assert int(reply.header("Age")) >= 1
    assert weir.counter("browned_out") > before


# ---- Time that was lost before -----------------------------------------------------


def ago(seconds):
    return {"REQUEST_START": f"{time.time() - seconds:.3f}"}


def test_the_time_lost_in_the_front_counts(weir):
    before = sheds(weir)
    assert weir.fcgi("GET", "/t/short", **ago(0)).status == 200
    assert weir.fcgi("GET", "/t/short", **ago(0.2)).status == 200
    late = weir.fcgi("GET", "/t/short", **ago(5))  # a statement of half a second, and as much for the rest
    assert late.status == 503 and int(late.header("Retry-After")) >= 1
    for form in (f"t={int((time.time() - 5) * 1e6)}", f"{int((time.time() - 5) * 1e3)}"):
        assert weir.fcgi("GET", "/t/short", REQUEST_START=form).status == 503
    assert sheds(weir)["deadline"] == before["deadline"] + 3


def test_a_copy_costs_no_time_and_a_wrong_clock_no_request(weir):
    assert weir.fcgi("GET", "/t/known", **ago(0)).status == 200
    assert weir.fcgi("GET", "/t/known", **ago(5)).status == 200
    assert weir.fcgi("GET", "/t/short", **ago(3600)).status == 200
    assert weir.fcgi("GET", "/t/short", **ago(-3600)).status == 200
    assert weir.fcgi("GET", "/t/short", REQUEST_START="yesterday").status == 200


def test_a_write_that_is_too_late_is_refused_before_anything_is_durable(weir):
    reply = weir.fcgi_post("/t/write", {"text": "late"}, key="late", **ago(5))
    assert reply.status == 503
    assert weir.fcgi_post("/t/write", {"text": "other"}, key="late", **ago(0)).status == 202  # else 422


# ---- Nobody waits any more ----------------------------------------------------------


def test_what_nobody_waits_for_any_more_is_not_begun(weirs):
    weir = weirs(HANDLERS, {"WEIR_WORKERS": 1, "WEIR_THREADS": 1}, SCHEMA)
    with contextlib.ExitStack() as stack:
        weir.start()
        stack.callback(weir.stop)
        slow = threading.Thread(target=lambda: weir.get("/t/slow"))
        slow.start()
        processes.wait_until(lambda: any(busy(weir)), "the slow one", timeout=20)
        for _ in range(3):
            with weir.connect() as connection:
                connection.send(fcgi.records(fcgi.params_for("GET", "/t/work")))
        slow.join()
        processes.wait_until(lambda: sheds(weir)["abandoned"] == 3, "that they are dropped", timeout=20)
        assert weir.counter("queries") == 1


def busy(weir):
    return [member["inHand"] for member in weir.status()["members"] if member["inHand"] > 0]
