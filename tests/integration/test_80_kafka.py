"""Goal: with Kafka, every 202 is applied exactly once, whatever stops, stalls or dies on the way.

The broker is real.  Each test has a topic and a group of its own, so that one broker serves all.
"""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import time
import uuid

import pytest

import metrics
import processes
import weir as house

SCHEMA = """
CREATE TABLE jots (n INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT, id TEXT, event_id TEXT,
                   text TEXT NOT NULL CHECK (text <> 'bad'), owner TEXT, at TEXT);
"""

HANDLERS = {
    "jot_add.sql": """-- POST /t/jots
-- body text: text, max 64
-- body owner: text, optional
-- timeout: 10s
-- key: :owner
INSERT INTO jots (tenant, id, event_id, text, owner, at)
VALUES (:tenant, :idempotency_key, :event_id, :text, :owner, :accepted_at);
""",
    "jot_aside.sql": """-- POST /t/aside
-- body text: text
-- body extra: object
-- queue: TOPIC-aside
INSERT INTO jots (tenant, id, text, owner) VALUES (:tenant, :idempotency_key, :text, :extra);
""",
    "jot_quick.sql": """-- POST /t/quick
-- body text: text
-- timeout: 1s
INSERT INTO jots (tenant, id, text) VALUES (:tenant, :idempotency_key, :text);
""",
    "jot_late.sql": """-- POST /t/late
-- body text: text
INSERT INTO late (id, text) VALUES (:idempotency_key, :text);
""",
}


@pytest.fixture
def fleet(broker, make_weir):
    """Makes a weir on the broker, with a topic and a group of this test."""
    name = "t-" + uuid.uuid4().hex[:10]

    def make(env=None, **how):
        handlers = {file: text.replace("TOPIC", name) for file, text in HANDLERS.items()}
        settings = {
            "KAFKA_BROKERS": broker.brokers,
            "KAFKA_TOPIC": name,
            "KAFKA_GROUP": name,
            "KAFKA_CONFIG_SESSION_TIMEOUT_MS": 6000,
            **(env or {}),
        }
        return make_weir(handlers, settings, SCHEMA, **how)

    make.topic = name
    return make


def ids(*weirs):
    return sorted(row[0] for w in weirs for row in w.rows("SELECT id FROM jots"))


def put(weir, key, text="x", target="/t/jots", **more):
    reply = weir.fcgi_post(target, {"text": text, **more}, key, timeout=40)
    return reply.status


def burst(weir, prefix, count=200, threads=8, **more):
    """Writes that come at once; returns the keys of those that were answered 202."""
    accepted = []

    def work(i):
        for n in range(i, count, threads):
            if put(weir, f"{prefix}{n}", **more) == 202:
                accepted.append(f"{prefix}{n}")

    house.all_at_once(threads, work)
    return sorted(accepted)


def wait_applied(keys, *weirs, timeout=60):
    keys = sorted(keys)
    try:
        processes.wait_until(lambda: len(ids(*weirs)) >= len(keys), f"{len(keys)} events", timeout)
    except TimeoutError:
        pass  # the next line says what is missing
    assert ids(*weirs) == keys


@contextlib.contextmanager
def a_transaction_of_somebody_else(weir):
    """The consumer waits for it with what it has in hand."""
    with contextlib.closing(sqlite3.connect(f"{weir.state}/weir.db", timeout=20, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def is_forwarded(weir):
    return weir.status()["spool"]["waiting"] == 0


# ---- What is sent ------------------------------------------------------------


def test_every_accepted_write_of_a_burst_is_applied_once(fleet):
    weir = fleet()
    keys = burst(weir, "k", 500)
    assert len(keys) == 500
    wait_applied(keys, weir)
    processes.wait_until(lambda: is_forwarded(weir), "the spool to be empty")


def test_others_can_read_what_was_written(fleet, broker):
    weir = fleet()
    reply = weir.fcgi_post("/t/jots", {"text": "caf\u00e9 \"x\"", "owner": "ann"}, "key-1", tenant="acme")
    assert reply.status == 202
    plain = weir.fcgi_post("/t/aside", {"text": "b", "extra": {"a": [1, 2.50]}}, "key-2")
    assert plain.status == 202
    wait_applied(["key-1", "key-2"], weir)
    [message] = broker.messages(fleet.topic)
    headers = message["headers"]
    assert json.loads(message["payload"]) == {"text": "caf\u00e9 \"x\"", "owner": "ann"}
    assert message["key"] == "ann"
    assert headers["weir-version"] == "1"
    assert headers["weir-endpoint"] == "jot_add"
    assert headers["weir-tenant"] == "acme"
    assert headers["weir-key"] == "key-1"
    assert reply.header("Location").endswith(headers["weir-event-id"])
    assert headers["traceparent"].startswith("00-")
    assert weir.rows("SELECT at FROM jots WHERE id = 'key-1'") == [(headers["weir-accepted-at"],)]
    [aside] = broker.messages(fleet.topic + "-aside")
    assert aside["payload"] == '{"text":"b","extra":{"a": [1, 2.5]}}'
    assert aside["key"] == "key-2"
    assert weir.rows("SELECT owner FROM jots WHERE id = 'key-2'") == [('{"a": [1, 2.5]}',)]


def test_an_operation_is_accepted_until_it_is_applied_and_its_key_replays(fleet, broker):
    weir = fleet()
    reply = weir.post("/t/jots", {"text": "x"}, "k")
    applied = weir.wait_operation(reply.header("Location"))
    assert applied.json()["rows"] == 1
    again = weir.post("/t/jots", {"text": "x"}, "k")
    assert (again.status, again.header("Idempotent-Replayed")) == (202, "true")
    assert weir.post("/t/jots", {"text": "y"}, "k").status == 422
    broker.freeze()
    waiting = weir.post("/t/jots", {"text": "x"}, "k2")
    time.sleep(0.5)
    assert weir.get(waiting.header("Location")).json()["status"] == "accepted"
    broker.thaw()
    weir.wait_operation(waiting.header("Location"))
    processes.wait_until(lambda: weir.status()["spool"]["appliedSeq"] == 2, "the spool to know that they are applied")


def test_writes_of_one_key_are_applied_in_the_order_in_which_they_were_accepted(fleet, broker):
    weir = fleet()
    keys = []
    for n in range(60):
        keys.append(f"{n:03}")
        assert put(weir, keys[-1], owner=f"o{n % 3}") == 202
        if n == 20:
            broker.freeze()
        if n == 40:
            broker.thaw()
    wait_applied(keys, weir)
    for owner in ("o0", "o1", "o2"):
        order = [row[0] for row in weir.rows("SELECT id FROM jots WHERE owner = ? ORDER BY n", owner)]
        assert order == sorted(order) and len(order) == 20


# ---- Kafka away --------------------------------------------------------------


@pytest.mark.parametrize("away", ["killed", "frozen"])
@pytest.mark.parametrize("when", ["before", "during"])
def test_writes_go_on_while_kafka_is_away_and_all_are_applied_when_it_is_back(fleet, broker, away, when):
    weir = fleet()
    keys = burst(weir, "a", 50)
    if when == "before":
        wait_applied(keys, weir)
    broker.kill() if away == "killed" else broker.freeze()
    keys += burst(weir, "b", 200)
    assert len(keys) == 250
    assert weir.status()["spool"]["waiting"] >= 200
    assert weir.admin("/ready").status == 200
    broker.start() if away == "killed" else broker.thaw()
    keys += burst(weir, "c", 50)
    assert len(keys) == 300
    wait_applied(keys, weir)
    processes.wait_until(lambda: is_forwarded(weir), "the spool to be empty")


def test_kafka_that_was_away_when_weir_started_is_found_later(fleet, broker):
    broker.kill()
    weir = fleet()
    keys = burst(weir, "k", 50)
    assert len(keys) == 50
    broker.start()
    wait_applied(keys, weir)


def test_a_broker_that_restarts_loses_and_doubles_nothing(fleet, broker):
    weir = fleet()
    keys = burst(weir, "a", 100)
    broker.stop()
    broker.start()
    keys += burst(weir, "b", 100)
    assert len(keys) == 200
    wait_applied(keys, weir)


def test_a_stall_is_said_once_and_so_is_its_end(fleet, broker):
    weir = fleet()
    wait_applied(burst(weir, "a", 10), weir)
    broker.freeze()
    keys = burst(weir, "b", 10)
    processes.wait_until(lambda: weir.events("kafka_stalled"), "a word about the stall")
    keys += burst(weir, "c", 10)
    assert weir.status()["forwarder"]["state"] == "stalled"
    broker.thaw()
    processes.wait_until(lambda: weir.events("forwarder_goes_on"), "a word about its end")
    assert len(weir.events("kafka_stalled")) == len(weir.events("forwarder_goes_on")) == 1
    processes.wait_until(lambda: len(ids(weir)) == 30, "all events", 60)


def test_what_is_applied_while_kafka_is_away_is_committed_when_it_is_back_although_nothing_new_comes(fleet, broker):
    """Else the group looks behind for as long as its partitions are quiet, and no key of the spool ever ages."""
    weir = fleet({"KAFKA_CONFIG_SOCKET_TIMEOUT_MS": 1000, "KAFKA_CONFIG_SESSION_TIMEOUT_MS": 45000})
    wait_applied(burst(weir, "a", 10), weir)
    processes.wait_until(lambda: weir.status()["spool"]["appliedSeq"] == 10, "the spool to know that all is applied")
    with a_transaction_of_somebody_else(weir):
        assert put(weir, "last") == 202
        processes.wait_until(lambda: is_forwarded(weir), "the spool to be empty")
        processes.wait_until(lambda: weir.status()["consumer"]["state"] != "idle", "the consumer to have it in hand")
        broker.freeze()
    processes.wait_until(lambda: ("last",) in weir.rows("SELECT id FROM jots"), "the write to be applied")
    processes.wait_until(lambda: "kafka_client" in weir.log(), "the commit to fail")
    assert weir.status()["spool"]["appliedSeq"] == 10, "nobody can know more yet"
    broker.thaw()
    processes.wait_until(lambda: weir.status()["spool"]["appliedSeq"] == 11, "the spool to know that all is applied", 40)
    assert len(ids(weir)) == 11


def test_it_ends_by_itself_while_kafka_and_redis_stall(fleet, broker, make_redis):
    redis = make_redis(unix=True)
    weir = fleet({"REDIS_URL": redis.url})
    wait_applied(burst(weir, "a", 20), weir)
    redis.suspend()
    broker.freeze()
    assert len(burst(weir, "b", 20)) == 20
    assert processes.stop(weir.serve)
    ended = [line for line in weir.log_lines() if line["event"] == "child_ended"]
    assert len(ended) == 3 and all(line.get("code") == 0 for line in ended), ended
    broker.thaw()
    redis.resume()
    weir.start_serve()
    wait_applied([f"{prefix}{n}" for prefix in "ab" for n in range(20)], weir)


# ---- Our own processes die ---------------------------------------------------


def test_consumer_and_forwarder_killed_again_and_again_lose_and_double_nothing(fleet):
    weir = fleet({"KAFKA_CONFIG_SESSION_TIMEOUT_MS": 6000})
    keys = []
    for n in range(6):
        keys += burst(weir, f"r{n}-", 60)
        pid = weir.consumer()
        if pid:
            os.kill(pid, signal.SIGKILL)
    assert len(keys) == 360
    wait_applied(keys, weir, timeout=90)


def test_everything_killed_at_once_begins_again_where_it_was(fleet):
    weir = fleet()
    keys = burst(weir, "a", 200)
    processes.kill_group(weir.serve)
    for pid in weir.members():
        os.kill(pid, signal.SIGKILL)
    weir.serve.wait()
    weir.start_serve()
    weir.wait_healthy()
    keys += burst(weir, "b", 50)
    assert len(keys) == 250
    wait_applied(keys, weir, timeout=90)


@pytest.fixture
def spawned(fleet, make_redis, request):
    """Two workers under spawn-fcgi, with all that a fleet has and no supervisor: (weir, its pids, its Redis)."""
    redis = make_redis(unix=True)
    weir = fleet({"REDIS_URL": redis.url, "REDIS_TIMEOUT": "1s"}, start=False, front=False)
    weir.env["LOG_FILE"] = weir.log_path
    house.make_state(weir.state)
    weir.make_database()
    path = os.path.join(weir.state, "spawned.sock")
    run = subprocess.run(
        ["spawn-fcgi", "-s", path, "-F", "2", "--", weir.binary, "worker"],
        env=weir.env, cwd=weir.folder, check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    pids = [int(pid) for pid in re.findall(r"PID: (\d+)", run.stdout + run.stderr)]

    def end():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        outlived = [pid for pid in pids if not processes.ends_within(pid, 10)]
        for pid in outlived:
            os.kill(pid, signal.SIGKILL)
        assert not outlived

    request.addfinalizer(end)
    weir.listen = "unix:" + path
    processes.wait_until(weir.socket_answers, "the health answer")
    return weir, pids, redis


def holder(weir, event):
    """Who said last that it begins."""
    return [line["pid"] for line in weir.log_lines() if line["event"] == event][-1:]


@pytest.mark.parametrize("thread", ["forwarder_begins", "consumer_begins"])
def test_workers_that_nobody_supervises_forward_and_consume_and_stand_in_for_each_other(spawned, thread):
    weir, pids, redis = spawned
    keys = burst(weir, "a", 50)
    wait_applied(keys, weir)
    assert "weir:hosts" in redis.keys() and redis.call("PUBSUB", "NUMSUB", "weir:purges:0")[1] >= 1, "they keep house"
    [first] = processes.wait_until(lambda: holder(weir, thread), thread)
    assert first in pids
    keys += burst(weir, "b", 50)
    os.kill(first, signal.SIGKILL)
    redis.stop()
    processes.wait_until(weir.socket_answers, "the other worker")
    keys += burst(weir, "c", 50)
    assert len(keys) == 150
    wait_applied(keys, weir)
    assert holder(weir, thread) == [pid for pid in pids if pid != first]
    processes.wait_until(lambda: is_forwarded(weir), "the spool to be empty")


def test_consume_once_forwards_and_applies_what_waits_and_ends(fleet):
    weir = fleet(start=False)
    weir.serve_options = ["--no-consumer"]
    weir.start()
    keys = burst(weir, "k", 100)
    processes.wait_until(lambda: is_forwarded(weir), "the forwarder of a weir without a consumer")
    assert ids(weir) == []
    run = weir.command("consume", "--once")
    assert run.returncode == 0, run
    assert ids(weir) == keys


# ---- Several hosts -----------------------------------------------------------


def test_two_hosts_share_the_work_and_each_event_is_applied_once(fleet):
    one, two = fleet(), fleet()
    lags = lambda w: w.status()["forwarder"]["partitions"]  # noqa: E731
    keys = burst(one, "warm", 20)
    processes.wait_until(lambda: len(ids(one, two)) == 20, "the group", 60)

    def assigned(w):
        lines = [line["partitions"] for line in w.events("kafka_assigned")]
        return lines[-1] if lines else 0

    # The topic of `queue:` has 6 partitions as well.
    processes.wait_until(lambda: assigned(one) == assigned(two) == 6, "both to have half of the partitions", 60)
    keys += burst(one, "a", 150) + burst(two, "b", 150)
    assert len(keys) == 320
    wait_applied(keys, one, two)
    assert len(ids(one)) > 50 and len(ids(two)) > 50
    processes.wait_until(
        lambda: lags(one) and all(p["lag"] == 0 for p in lags(one)), "no lag in any partition", 30
    )
    assert {p["topic"] for p in lags(one)} == {fleet.topic, fleet.topic + "-aside"}
    samples = one.metrics()
    found = [(labels["topic"], labels["partition"], value) for name, labels, value in samples if name == "weir_consumer_lag"]
    assert sorted(found) == sorted((p["topic"], str(p["partition"]), 0.0) for p in lags(one))
    assert metrics.total(samples, "weir_consumer_lag_seconds") == 0


def test_the_partitions_of_a_dead_host_go_to_the_living(fleet):
    one, two = fleet(), fleet()
    keys = burst(one, "a", 50) + burst(two, "b", 50)
    wait_applied(keys, one, two)
    two.stop()
    keys += burst(one, "c", 100)
    wait_applied(keys, one, two, timeout=60)


# ---- Bad events --------------------------------------------------------------


def test_a_poison_event_goes_to_both_dead_letters_and_stops_none_of_the_others(fleet, broker):
    weir = fleet()
    keys = burst(weir, "a", 100, owner="o")
    bad = weir.post("/t/jots", {"text": "bad", "owner": "o"}, "poison")
    assert bad.status == 202
    keys += burst(weir, "b", 100, owner="o")
    wait_applied(keys, weir)
    weir.wait_operation(bad.header("Location"), "failed")
    assert weir.rows("SELECT sqlstate FROM weir_dead_letters") == [("23000",)]
    [letter] = broker.messages(fleet.topic + ".dlq")
    headers = letter["headers"]
    assert json.loads(letter["payload"]) == {"text": "bad", "owner": "o"}
    assert headers["weir-key"] == "poison"
    assert headers["__connect.errors.topic"] == fleet.topic
    assert headers["__connect.errors.connector.name"] == fleet.topic
    assert headers["__connect.errors.exception.class.name"] == "23000"
    assert "CHECK" in headers["__connect.errors.exception.message"]
    original = [m for m in broker.messages(fleet.topic) if m["headers"]["weir-key"] == "poison"]
    assert headers["__connect.errors.offset"] == str(original[0]["offset"])
    assert headers["__connect.errors.partition"] == str(original[0]["partition"])


def test_a_message_of_somebody_else_is_passed_and_kept_aside(fleet, broker):
    weir = fleet()
    keys = burst(weir, "a", 10)
    broker.send(fleet.topic, b"\xff\x00 no business of weir")
    broker.send(fleet.topic, b"{}", headers={"weir-version": "1", "weir-endpoint": "jot_add"})
    keys += burst(weir, "b", 10)
    wait_applied(keys, weir)
    processes.wait_until(lambda: len(broker.messages(fleet.topic + ".dlq")) == 2, "both to be set aside")
    assert weir.rows("SELECT count(*) FROM weir_dead_letters") == [(0,)]


def test_a_late_migration_stops_the_consumer_and_nothing_is_lost(fleet):
    weir = fleet()
    keys = burst(weir, "a", 10)
    wait_applied(keys, weir)
    assert put(weir, "late", target="/t/late") == 202
    processes.wait_until(lambda: weir.status()["consumer"]["state"] == "stopped", "the consumer to stop")
    keys += burst(weir, "b", 10)
    samples = lambda: weir.metrics()  # noqa: E731
    processes.wait_until(lambda: metrics.total(samples(), "weir_consumer_lag") >= 10, "the lag of what it waits before", 20)
    assert metrics.total(samples(), "weir_consumer_state", state="stopped") == 1
    lag = lambda: metrics.total(samples(), "weir_consumer_lag_seconds")  # noqa: E731
    processes.wait_until(lambda: lag() > 1, "the lag to grow", 60)
    weir.write("CREATE TABLE late (id TEXT, text TEXT)")
    wait_applied(keys, weir)
    assert weir.rows("SELECT id FROM late") == [("late",)]
    assert weir.rows("SELECT count(*) FROM weir_dead_letters") == [(0,)]


# ---- WEIR_ACK=kafka ----------------------------------------------------------


def test_with_ack_kafka_a_202_is_in_kafka(fleet, broker):
    weir = fleet({"WEIR_ACK": "kafka"})
    keys = burst(weir, "k", 100)
    assert len(keys) == 100
    assert sorted(m["headers"]["weir-key"] for m in broker.messages(fleet.topic)) == keys
    wait_applied(keys, weir)


def test_with_ack_kafka_a_stall_is_503_and_the_same_key_later_gets_its_answer(fleet, broker):
    weir = fleet({"WEIR_ACK": "kafka"})
    assert put(weir, "before") == 202  # which may take longer: the topic is being made
    broker.freeze()
    reply = weir.post("/t/quick", {"text": "x"}, "stalled")
    assert reply.status == 503
    assert "not yet acknowledged" in reply.json()["detail"]
    assert weir.post("/t/quick", {"text": "x"}, "stalled").status == 503
    assert weir.status()["spool"]["waiting"] == 1
    assert weir.get("/api/v1/health").status == 200
    broker.thaw()
    again = processes.wait_until(
        lambda: (lambda r: r if r.status == 202 else None)(weir.post("/t/quick", {"text": "x"}, "stalled")), "a 202"
    )
    assert again.header("Idempotent-Replayed") == "true"
    wait_applied(["before", "stalled"], weir)


# ---- Settings ----------------------------------------------------------------


def test_what_librdkafka_refuses_is_a_fault_of_the_settings(fleet):
    weir = fleet({"KAFKA_CONFIG_ACKS": "1", "KAFKA_CONFIG_NO_SUCH_THING": "x", "KAFKA_CONFIG_LINGER_MS": "long"}, start=False)
    run = weir.command("check")
    assert run.returncode == 78
    for name in ("KAFKA_CONFIG_ACKS", "KAFKA_CONFIG_NO_SUCH_THING", "KAFKA_CONFIG_LINGER_MS"):
        assert name in run.stderr + run.stdout
    assert weir.command("check", env={"WEIR_ACK": "kafka", "KAFKA_BROKERS": ""}).returncode == 78
    assert weir.command("check", env={"KAFKA_BROKERS": "nowhere"}).returncode == 78


def test_check_connect_says_whether_kafka_answers(fleet, broker):
    weir = fleet(start=False, front=False)
    house.make_state(weir.state)
    weir.make_database()
    run = weir.command("check", "--connect")
    assert "KAFKA_BROKERS" not in run.stdout + run.stderr
    run = weir.command("check", "--connect", env={"KAFKA_BROKERS": "127.0.0.1:1"})
    assert run.returncode == 78 and "KAFKA_BROKERS" in run.stdout + run.stderr
    assert "does not answer" in run.stdout + run.stderr


# ---- The breaker -------------------------------------------------------------


def breaker(weir):
    [found] = [b for b in weir.status()["breakers"] if b["name"] == "kafka"]
    return found["state"]


def test_a_breaker_that_is_opened_by_hand_holds_events_back_and_given_back_lets_them_go(fleet):
    weir = fleet()
    wait_applied(burst(weir, "a", 20), weir)
    assert weir.command("breaker", "open", "kafka").returncode == 0
    keys = burst(weir, "b", 20)
    assert len(keys) == 20
    time.sleep(0.5)
    assert weir.status()["spool"]["waiting"] == 20
    assert weir.command("breaker", "auto", "kafka").returncode == 0
    wait_applied(keys + [f"a{n}" for n in range(20)], weir)


def test_a_stalled_kafka_is_suspended_and_taken_into_use_by_itself(fleet, broker):
    weir = fleet()
    wait_applied(burst(weir, "a", 10), weir)
    broker.freeze()
    keys = burst(weir, "b", 10)
    processes.wait_until(lambda: breaker(weir) == "suspended", "the breaker")
    broker.thaw()
    wait_applied(keys + [f"a{n}" for n in range(10)], weir)
    processes.wait_until(lambda: breaker(weir) == "closed", "the breaker")
