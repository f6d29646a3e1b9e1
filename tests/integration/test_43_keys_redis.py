"""Goal: an idempotency key means one write on all hosts together, and no write waits for a Redis that is away.

Two instances are two hosts here: each has a state folder, a spool and a database of its own.
"""

import os
import signal
import threading
import time

import pytest

import processes
import weir as house

SCHEMA = "CREATE TABLE jots (tenant TEXT, id TEXT, text TEXT, PRIMARY KEY (tenant, id));"

HANDLERS = {
    "jot_add.sql": """-- POST /t/jots
-- body text: text
-- timeout: 1s
INSERT INTO jots (tenant, id, text) VALUES (:tenant, :idempotency_key, :text);
""",
    "loose_add.sql": """-- POST /t/loose
-- body text: text
-- idempotency: optional
INSERT INTO jots (tenant, id, text) VALUES (:tenant, :idempotency_key, :text);
""",
}

NOBODYS = "/api/v1/operations/00000000-0000-8000-8000-000000000001"
HOST = "00112233aabbccdd"  # another one, which is not there any more


class Hosts:
    def __init__(self, make_weir, make_redis):
        self.redis = make_redis()
        settings = {"REDIS_URL": self.redis.url, "REDIS_TIMEOUT": "250ms"}
        self.a, self.b = (make_weir(HANDLERS, settings, SCHEMA) for _ in range(2))
        for weir in (self.a, self.b):  # its consumer has made the key table
            processes.wait_until(lambda: weir.get(NOBODYS).status == 404, "the key table")

    def key_of(self, reply, tenant=""):
        return f"weir:key:{tenant}:{reply.header('Location').rsplit('/', 1)[1]}"

    def wait_settled(self, key):
        """The answer is stored behind the reply."""
        processes.wait_until(lambda: (self.redis.call("GET", key) or b"").startswith(b"1 a "), f"{key} settled")

    def claim(self, key, ms, fingerprint=b"00"):
        self.redis.call("SET", key, b"1 c %s %s" % (fingerprint, HOST.encode()), "PX", ms)

    def fingerprint(self, key):
        return self.redis.call("GET", key).split()[2]


@pytest.fixture
def hosts(make_weir, make_redis):
    return Hosts(make_weir, make_redis)


def written(weir):
    return weir.rows("SELECT count(*) FROM jots")[0][0]


# ---- Replays -----------------------------------------------------------------


def test_a_replay_works_on_the_other_host(hosts):
    first = hosts.a.post("/t/jots", {"text": "x"}, "key-1")
    assert first.status == 202 and first.header("Idempotent-Replayed") is None
    hosts.wait_settled(hosts.key_of(first))
    second = hosts.b.post("/t/jots", {"text": "x"}, '"key-1"')
    assert second.status == 202 and second.header("Idempotent-Replayed") == "true"
    assert second.json() == first.json() and second.header("Location") == first.header("Location")
    hosts.a.wait_operation(first.header("Location"))
    assert (written(hosts.a), written(hosts.b)) == (1, 0)
    assert hosts.b.counter("writes_replayed") == 1 and hosts.b.counter("writes_accepted") == 0


def test_other_parameters_are_422_on_the_other_host(hosts):
    first = hosts.a.post("/t/jots", {"text": "x"}, "key-2")
    hosts.wait_settled(hosts.key_of(first))
    assert hosts.b.post("/t/jots", {"text": "y"}, "key-2").status == 422
    assert hosts.a.post("/t/jots", {"text": "y"}, "key-2").status == 422
    assert hosts.b.post("/t/jots", {"text": "x"}, "key-2").header("Idempotent-Replayed") == "true"


def test_the_same_key_at_once_on_two_hosts_is_one_write(hosts):
    weirs = [hosts.a, hosts.b]
    for n in range(5):
        replies = house.all_at_once(20, lambda i: weirs[i % 2].post("/t/jots", {"text": "x"}, f"race-{n}"))
        assert {r.status for r in replies} == {202}
        assert sum(r.header("Idempotent-Replayed") is None for r in replies) == 1
    assert sum(w.counter("writes_accepted") for w in weirs) == 5


def test_tenants_and_endpoints_have_keys_of_their_own(hosts):
    first = hosts.a.fcgi_post("/t/jots", {"text": "x"}, "key-3", tenant="acme")
    hosts.wait_settled(hosts.key_of(first, "acme"))
    for tenant, target, replayed in (("acme", "/t/jots", "true"), ("zeta", "/t/jots", None), ("acme", "/t/loose", None)):
        reply = hosts.b.fcgi_post(target, {"text": "x"}, "key-3", tenant=tenant)
        assert (reply.status, reply.header("Idempotent-Replayed")) == (202, replayed), (tenant, target)


def test_without_a_key_each_request_is_a_write(hosts):
    for weir in (hosts.a, hosts.b, hosts.a):
        reply = weir.post("/t/loose", {"text": "x"})
        assert reply.status == 202 and reply.header("Idempotent-Replayed") is None


def test_an_answer_lives_as_long_as_its_key(make_weir, make_redis):
    redis = make_redis()
    weir = make_weir(HANDLERS, {"REDIS_URL": redis.url, "IDEMPOTENCY_TTL": "2h"}, SCHEMA)
    reply = weir.post("/t/jots", {"text": "x"}, "key-ttl")
    key = "weir:key::" + reply.header("Location").rsplit("/", 1)[1]
    processes.wait_until(lambda: redis.call("PTTL", key) > 3600_000, "the answer")
    assert redis.call("PTTL", key) <= 7200_000


# ---- In hand -----------------------------------------------------------------


def test_a_key_in_hand_of_another_host_is_waited_for_and_then_409(hosts):
    key = hosts.key_of(hosts.a.post("/t/jots", {"text": "x"}, "held"))
    hosts.wait_settled(key)
    print_ = hosts.fingerprint(key)
    hosts.claim(key, 60_000, print_)
    began = time.monotonic()
    reply = hosts.b.post("/t/jots", {"text": "x"}, "held")
    assert reply.status == 409 and int(reply.header("Retry-After")) >= 1
    assert reply.json()["status"] == 409
    assert 0.8 < time.monotonic() - began < 5
    assert hosts.b.post("/t/jots", {"text": "other"}, "held").status == 409, "nothing was accepted that it could differ from"


def test_who_waits_gets_the_answer_of_who_has_it_in_hand(hosts):
    key = hosts.key_of(hosts.a.post("/t/jots", {"text": "x"}, "soon"))
    hosts.wait_settled(key)
    accepted, print_ = hosts.redis.call("GET", key), hosts.fingerprint(key)
    hosts.claim(key, 60_000, print_)
    replies = []
    waiter = threading.Thread(target=lambda: replies.append(hosts.b.post("/t/jots", {"text": "x"}, "soon")))
    waiter.start()
    time.sleep(0.2)
    assert waiter.is_alive()
    assert hosts.b.post("/t/jots", {"text": "y"}, "another").status == 202, "others do not wait behind it"
    assert waiter.is_alive()
    hosts.redis.call("SET", key, accepted)
    waiter.join()
    assert replies[0].status == 202 and replies[0].header("Idempotent-Replayed") == "true"


def test_the_claim_of_a_host_that_crashed_frees_itself(hosts):
    key = hosts.key_of(hosts.a.post("/t/jots", {"text": "x"}, "crashed"))
    hosts.wait_settled(key)
    hosts.claim(key, 400)
    reply = hosts.b.post("/t/jots", {"text": "x"}, "crashed")
    assert reply.status == 202 and reply.header("Idempotent-Replayed") is None
    hosts.wait_settled(key)


def test_a_claim_is_left_by_a_killed_worker_and_is_no_hindrance_on_its_host(hosts):
    """Its own host's spool decides: nginx tries again there at once."""
    key = hosts.key_of(hosts.a.post("/t/jots", {"text": "x"}, "mine"))
    hosts.wait_settled(key)
    for pid in hosts.a.workers():  # they stop with the claim in Redis and nothing in the spool, or with both
        os.kill(pid, signal.SIGSTOP)
    replies = []
    writer = threading.Thread(target=lambda: replies.append(hosts.a.post("/t/jots", {"text": "x"}, "killed")))
    writer.start()
    time.sleep(0.2)
    for pid in hosts.a.workers():
        os.kill(pid, signal.SIGKILL)
    writer.join()
    assert replies[0].status == 202
    hosts.wait_settled(hosts.key_of(replies[0]))
    assert hosts.b.post("/t/jots", {"text": "x"}, "killed").header("Idempotent-Replayed") == "true"


def test_a_refused_write_gives_its_claim_back(make_weir, make_redis):
    redis = make_redis()
    settings = {"REDIS_URL": redis.url, "REDIS_TIMEOUT": "250ms", "WEIR_SPOOL_BYTES": "16m", "WEIR_MAX_BODY": "4m"}
    a = make_weir(HANDLERS, settings, SCHEMA)
    b = make_weir(HANDLERS, {**settings, "WEIR_SPOOL_BYTES": "64m"}, SCHEMA)
    consumer = a.consumer()
    os.kill(consumer, signal.SIGSTOP)
    try:
        big = {"text": "x" * 3_000_000}
        statuses = [a.post("/t/jots", big, f"big-{i}").status for i in range(8)]
        assert 503 in statuses and 202 in statuses
        refused = f"big-{statuses.index(503)}"
        processes.wait_until(lambda: all(redis.call("GET", k).startswith(b"1 a ") for k in redis.keys("weir:key:*")), "no claim left")
        reply = b.post("/t/jots", big, refused)
        assert reply.status == 202 and reply.header("Idempotent-Replayed") is None
    finally:
        os.kill(consumer, signal.SIGCONT)


# ---- A Redis that fails ------------------------------------------------------


@pytest.mark.parametrize("how", ["suspend", "kill"])
def test_without_redis_writes_are_accepted_all_the_same(hosts, how):
    getattr(hosts.redis, how)()
    try:
        for i in range(20):
            began = time.monotonic()
            assert hosts.a.post("/t/jots", {"text": "x"}, f"alone-{i}").status == 202
            if i > 0:
                assert time.monotonic() - began < 0.2, "no write waits for a shard that is suspended"
        again = hosts.a.post("/t/jots", {"text": "x"}, "alone-0")
        assert again.status == 202 and again.header("Idempotent-Replayed") == "true", "the spool knows it"
        assert hosts.a.post("/t/jots", {"text": "y"}, "alone-0").status == 422
    finally:
        if how == "suspend":
            hosts.redis.resume()
        else:
            hosts.redis.start()
    processes.wait_until(lambda: replays_again(hosts), "replays on the other host again", timeout=20)


def replays_again(hosts):
    key = f"again-{time.monotonic_ns()}"
    hosts.a.post("/t/jots", {"text": "x"}, key)
    time.sleep(0.1)
    return hosts.b.post("/t/jots", {"text": "x"}, key).header("Idempotent-Replayed") == "true"


def test_a_redis_that_comes_back_empty_leaves_the_spool_as_the_wall(hosts):
    assert hosts.a.post("/t/jots", {"text": "x"}, "wall").status == 202
    hosts.redis.restart()
    again = hosts.a.post("/t/jots", {"text": "x"}, "wall")
    assert again.status == 202 and again.header("Idempotent-Replayed") == "true"
    hosts.wait_settled(hosts.key_of(again))
    assert hosts.b.post("/t/jots", {"text": "x"}, "wall").header("Idempotent-Replayed") == "true"


def test_what_lies_there_and_is_no_answer_is_overwritten(hosts):
    key = hosts.key_of(hosts.a.post("/t/jots", {"text": "x"}, "bytes"))
    hosts.wait_settled(key)
    for bad in (b"", b"2 a 00 1", b"1 a zz 1", b"1 a 00 1 2", b"\xff" * 100):
        hosts.redis.call("SET", key, bad)
        assert hosts.b.post("/t/jots", {"text": "x"}, "bytes").status == 202
    hosts.redis.call("DEL", key)
    hosts.redis.call("LPUSH", key, "a list")
    assert hosts.b.post("/t/jots", {"text": "x"}, "bytes").status == 202


# ---- Operations --------------------------------------------------------------


def test_an_operation_is_known_on_the_other_host(hosts):
    consumer = hosts.a.consumer()
    os.kill(consumer, signal.SIGSTOP)
    try:
        first = hosts.a.fcgi_post("/t/jots", {"text": "x"}, "operation", tenant="acme")
        hosts.wait_settled(hosts.key_of(first, "acme"))
        where = first.header("Location")
        own = hosts.a.fcgi("GET", where, tenant="acme").json()
        assert own["status"] == "accepted"
        assert hosts.b.fcgi("GET", where, tenant="acme").json() == own
        assert hosts.b.fcgi("GET", where, tenant="zeta").status == 404
        assert hosts.b.fcgi("GET", where).status == 404
    finally:
        os.kill(consumer, signal.SIGCONT)


def test_an_operation_that_redis_might_know_is_503_while_it_is_away(hosts):
    assert hosts.b.get(NOBODYS).status == 404
    hosts.redis.suspend()
    try:
        reply = hosts.b.get(NOBODYS)
        assert reply.status == 503 and reply.header("Retry-After") is not None
    finally:
        hosts.redis.resume()
    processes.wait_until(lambda: hosts.b.get(NOBODYS).status == 404, "the answer again", timeout=20)
