"""Goal: what a replica answers that has not come as far as a purge is never kept, on no host, and who sends a token back is
answered from a replica once that shows the write."""

import uuid

import pytest

import processes

SCHEMA = "CREATE TABLE things (id text, text text); INSERT INTO things VALUES ('1', 'old'), ('2', 'old'), ('3', 'old');"

HANDLERS = {
    "thing.sql": """-- GET /t/things/:id
-- param id: text
-- returns: one
-- cache: 1h
-- tags: things
SELECT id, text, CAST(current_setting('port') AS integer) AS port FROM things WHERE id = :id;
""",
    "now.sql": """-- GET /t/now/:id
-- param id: text
-- returns: one
SELECT text, CAST(current_setting('port') AS integer) AS port FROM things WHERE id = :id;
""",
    "thing_put.sql": """-- PUT /t/things/:id
-- param id: text
-- body text: text
-- invalidates: things
UPDATE things SET text = :text WHERE id = :id;
""",
}


@pytest.fixture
def servers(make_postgres):
    return make_postgres(replicas=1, bouncer=False)


@pytest.fixture
def start(make_weir, servers):
    database = servers.database()

    def make(env=None, schema=None):
        # A replica that is paused for a while is behind, and does not lag: only positions tell.
        return make_weir(HANDLERS, {"DB_READ_MAX_LAG": "10m", **(env or {})}, schema, database=database)

    return make


def put(weir, text, thing="1"):
    reply = weir.post(f"/t/things/{thing}", {"text": text}, uuid.uuid4().hex, method="PUT")
    assert reply.status == 202
    weir.wait_operation(reply.header("Location"))
    return reply


def text_of(reply):
    assert reply.status == 200, reply
    return reply.json()["text"]


def is_hit(reply):
    return "hit" in reply.header("Cache-Status")


def test_a_miss_after_a_purge_is_answered_by_who_has_come_as_far(start, servers):
    weir, replica = start(schema=SCHEMA), servers.replicas[0]
    replica.catch_up(servers.primary)
    assert weir.get("/t/things/1").json()["port"] == replica.port
    replica.pause_replay()
    put(weir, "new")
    first = weir.get("/t/things/1")
    assert text_of(first) == "new" and first.json()["port"] == servers.primary.port
    second = weir.get("/t/things/1")
    assert text_of(second) == "new" and is_hit(second), "what the primary answers is kept"
    assert weir.get("/t/now/1").json() == {"text": "old", "port": replica.port}, "the replica was behind all the time"


def test_without_a_primary_an_old_answer_is_served_and_not_kept(start, servers):
    weir, replica = start(schema=SCHEMA), servers.replicas[0]
    replica.pause_replay()
    put(weir, "new")
    servers.primary.kill()
    for _ in range(3):
        reply = weir.get("/t/things/1")
        assert text_of(reply) == "old" and not is_hit(reply) and "stored" not in reply.header("Cache-Status")
    replica.resume_replay()
    processes.wait_until(lambda: text_of(weir.get("/t/things/1")) == "new", "the replay", 10)
    assert is_hit(weir.get("/t/things/1")), "and that is kept again"


def test_a_host_that_did_not_write_keeps_no_older_answer_either(start, servers, make_redis):
    redis = {"REDIS_URL": make_redis().url, "REDIS_TIMEOUT": "250ms"}
    a, b, replica = start(redis, SCHEMA), start(redis), servers.replicas[0]
    replica.catch_up(servers.primary)
    assert text_of(b.get("/t/things/1")) == "old" and text_of(a.get("/t/things/2")) == "old"
    replica.pause_replay()
    put(a, "new")
    processes.wait_until(lambda: text_of(b.get("/t/things/1")) == "new", "the purge on the other host", 10)
    late = start(redis)  # it has heard no message: only Redis can tell it
    servers.primary.kill()
    for weir in (a, b, late):
        for thing in ("2", "3"):
            reply = weir.get(f"/t/things/{thing}")
            assert text_of(reply) == "old" and not is_hit(reply) and "stored" not in reply.header("Cache-Status")
    replica.resume_replay()
    assert text_of(a.get("/t/things/3")) == "old", "that one is as it was"
    processes.wait_until(lambda: is_hit(late.get("/t/things/3")), "a copy that all hosts keep again", 10)


def test_a_token_is_shown_by_the_replica_as_soon_as_it_can(start, servers):
    weir, replica = start(schema=SCHEMA), servers.replicas[0]
    for n in range(5):
        token = {"X-Weir-Consistency": put(weir, f"text {n}").header("X-Weir-Consistency")}
        reply = weir.get("/t/now/1", token)
        assert reply.json() == {"text": f"text {n}", "port": replica.port}
        assert reply.header("X-Weir-Pending") is None
    replica.pause_replay()
    token = {"X-Weir-Consistency": put(weir, "paused").header("X-Weir-Consistency")}
    assert weir.get("/t/now/1", token).json() == {"text": "paused", "port": servers.primary.port}
    assert weir.get("/t/now/1").json() == {"text": "text 4", "port": replica.port}
