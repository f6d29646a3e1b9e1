"""Goal: into PostgreSQL every 202 is applied exactly once, whatever is slow, stalled, restarted, replaced or killed.

Real servers: a primary with a replica, and PgBouncer in transaction mode before it.  `notes` has no key of its own, so
that an event applied twice shows as two rows.
"""

import json
import os
import random
import signal
import threading
import time
import uuid

import pytest

import postgres
import processes

HANDLERS = {
    "note.sql": """-- POST /t/notes
-- body text: text
-- invalidates: notes
INSERT INTO notes (tenant, id, text, accepted_at) VALUES (:tenant, :idempotency_key, :text, :accepted_at);
""",
    "notes.sql": "-- GET /t/notes\n-- returns: one\nSELECT count(*) AS n FROM notes;\n",
    "late.sql": """-- POST /t/late
-- body text: text
INSERT INTO late (id, text) VALUES (:idempotency_key, :text);
""",
    "rename.sql": """-- PUT /t/notes
-- body text: text
UPDATE notes SET text = :text WHERE tenant = :tenant;
""",
}

EMPTY = """
DROP TABLE IF EXISTS notes, late, weir_keys, weir_dead_letters;
CREATE TABLE notes (tenant text, id text, text text CHECK (text <> 'bad'), accepted_at timestamptz);
"""


@pytest.fixture
def servers(module_postgres):
    """The module's own, all at work and without a row."""
    module_postgres.primary.sql(EMPTY)
    return module_postgres


@pytest.fixture(params=["direct", "pgbouncer"])
def url(request, servers):
    return servers.bouncer.url() if request.param == "pgbouncer" else servers.primary.url()


def new_key():
    return uuid.uuid4().hex


class Burst:
    """Clients that write until they are told to stop; each repeats its key until it is acknowledged."""

    def __init__(self, weir, clients=3):
        self.weir = weir
        self.stop = threading.Event()
        self.acknowledged, self.wrong = set(), []
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.stop.is_set():
            key = new_key()
            try:
                while (reply := self.weir.post("/t/notes", {"text": key}, key)).status in (409, 503):
                    time.sleep(0.05)
            except Exception as e:  # the test fails on it
                self.wrong.append(repr(e))
                return
            if reply.status != 202:
                self.wrong.append(repr(reply))
            self.acknowledged.add(key)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert self.wrong == []


def ids(server):
    return server.sql("SELECT id FROM notes").split()


def wait_for_all(server, keys, timeout=60):
    """Every key has one row, and nothing else has any."""

    def there():
        try:
            return len(ids(server)) >= len(keys)
        except RuntimeError:
            return False  # it is still coming up

    processes.wait_until(there, f"{len(keys)} rows", timeout)
    found = ids(server)
    assert len(found) == len(set(found)), "none is applied twice"
    assert set(found) == set(keys), "none is lost and none is invented"


def letters(weir):
    run = weir.command("dlq", "list", "--json")
    assert run.returncode == 0, run
    return [json.loads(line) for line in run.stdout.splitlines()]


def waits_with(weir, sqlstate):
    return [line for line in weir.events("consumer_waits") if line["sqlstate"] == sqlstate]


def accept_while_nobody_consumes(make_weir, url, texts):
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": url}, start=False)
    weir.serve_options = ["--no-consumer"]
    weir.start()
    replies = [weir.post("/t/notes", {"text": text}, new_key()) for text in texts]
    assert {reply.status for reply in replies} == {202}
    return weir, replies


# ---- Everyday ------------------------------------------------------------------


def test_every_202_is_applied_exactly_once_and_its_operation_tells_so(make_weir, servers, url):
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": url})
    assert weir.command("migrate").returncode == 0
    burst = Burst(weir)
    time.sleep(1)
    burst.end()
    assert len(burst.acknowledged) > 50, "there was load"
    wait_for_all(servers.primary, burst.acknowledged)
    key = next(iter(burst.acknowledged))
    again = weir.post("/t/notes", {"text": key}, key)
    assert again.status == 202 and again.header("Idempotent-Replayed") == "true"
    told = weir.wait_operation(again.header("Location")).json()
    assert told["rows"] == 1 and told["appliedAt"] >= told["acceptedAt"]
    assert weir.get("/t/notes").json() == {"n": len(burst.acknowledged)}
    assert sum(line["applied"] for line in weir.events("batch")) == len(burst.acknowledged)
    assert letters(weir) == []


def test_a_key_says_how_many_rows_were_touched_and_others_see_nothing(make_weir, servers):
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": servers.bouncer.url()})
    for _ in range(3):
        weir.wait_operation(weir.post("/t/notes", {"text": "x"}, new_key()).header("Location"))
    put = weir.post("/t/notes", {"text": "y"}, new_key(), method="PUT")
    assert weir.wait_operation(put.header("Location")).json()["rows"] == 3
    assert weir.fcgi("GET", put.header("Location"), tenant="somebody").status == 404


def test_two_hosts_with_the_same_events_apply_each_once(make_weir, servers, url):
    hosts = [make_weir(HANDLERS, {"DB_WRITE_URL": url}) for _ in range(2)]
    keys = [new_key() for _ in range(150)]

    def send(weir, order):
        for key in order:
            assert weir.post("/t/notes", {"text": key}, key).status == 202

    threads = [threading.Thread(target=send, args=(hosts[0], keys)), threading.Thread(target=send, args=(hosts[1], keys[::-1]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for weir in hosts:
        processes.wait_until(lambda w=weir: w.status()["spool"]["waiting"] == 0, "an empty spool")
    wait_for_all(servers.primary, keys)
    told = [sum(line["applied"] for line in weir.events("batch")) for weir in hosts]
    assert sum(told) == len(keys)
    assert [letters(weir) for weir in hosts] == [[], []]


def test_the_password_is_told_nowhere(make_weir, servers):
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": servers.primary.url()})
    wrong = {"DB_WRITE_URL": servers.primary.url().replace(postgres.PASSWORD, "not-" + postgres.PASSWORD)}
    said = [weir.command(*words, env=env) for words in (["config"], ["migrate"], ["dlq", "list"]) for env in (None, wrong)]
    assert [run.returncode for run in said] == [0, 0, 0, 1, 0, 1]
    assert "password authentication failed" in said[3].stderr
    for text in [weir.log()] + [run.stdout + run.stderr for run in said]:
        assert postgres.PASSWORD not in text


# ---- Bad events and bad deployments ----------------------------------------------


def test_a_poison_event_among_500_is_isolated_and_can_live_again(make_weir, servers, url):
    weir, replies = accept_while_nobody_consumes(make_weir, url, ["bad" if i == 250 else "good" for i in range(500)])
    run = weir.command("consume", "--once")
    assert run.returncode == 0, run
    assert len(ids(servers.primary)) == 499
    (letter,) = letters(weir)
    assert letter["sqlstate"] == "23514" and "notes" in letter["message"] and letter["endpoint"] == "note"
    told = weir.get(replies[250].header("Location")).json()
    assert told["status"] == "failed" and "reason" not in told, "an anonymous caller is not told why"
    shown = weir.command("dlq", "show", letter["eventId"])
    assert 'text (text): "bad"' in shown.stdout
    retried = weir.command("dlq", "retry")
    assert retried.returncode == 1 and "0 applied, 1 failed again" in retried.stdout
    servers.primary.sql("ALTER TABLE notes DROP CONSTRAINT notes_text_check")
    retried = weir.command("dlq", "retry", letter["eventId"])
    assert retried.returncode == 0 and "1 applied, 0 failed again" in retried.stdout
    assert letters(weir) == []
    assert weir.get(replies[250].header("Location")).json()["status"] == "applied"
    assert servers.primary.sql("SELECT count(*) FROM notes WHERE text = 'bad'") == "1"


def test_dead_letters_can_be_dropped(make_weir, servers):
    weir, _ = accept_while_nobody_consumes(make_weir, servers.primary.url(), ["bad", "good", "bad"])
    assert weir.command("consume", "--once").returncode == 0
    first, second = letters(weir)
    assert weir.command("dlq", "drop", first["eventId"]).stdout == "1 dropped\n"
    assert [left["eventId"] for left in letters(weir)] == [second["eventId"]]
    assert weir.command("dlq", "drop", "--all").stdout == "1 dropped\n"
    assert letters(weir) == []


def test_a_late_migration_stops_the_consumer_which_says_so_and_goes_on_by_itself(make_weir, servers, url):
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": url})
    weir.wait_operation(weir.post("/t/notes", {"text": "before"}, "before").header("Location"))
    late = weir.post("/t/late", {"text": "x"}, new_key())
    behind = weir.post("/t/notes", {"text": "behind"}, "behind")
    assert (late.status, behind.status) == (202, 202)
    (line,) = processes.wait_until(lambda: weir.events("consumer_stopped"), "a word of it")
    assert line["sqlstate"] == "42P01" and line["file"].endswith("late.sql") and line["endpoint"] == "late"
    processes.wait_until(lambda: weir.admin("/ready").status == 503, "not ready")
    assert weir.get(late.header("Location")).json()["status"] == "accepted"
    time.sleep(2)
    assert sorted(ids(servers.primary)) == ["before"]
    assert letters(weir) == []
    assert len(weir.events("consumer_stopped")) == 1, "one line a minute"
    servers.primary.sql("CREATE TABLE late (id text, text text)")
    weir.wait_operation(late.header("Location"))
    weir.wait_operation(behind.header("Location"))
    wait_for_all(servers.primary, ["before", "behind"])
    processes.wait_until(lambda: weir.admin("/ready").status == 200, "ready again")


def test_without_the_right_to_make_tables_the_fault_is_said_and_healed(make_weir, servers):
    servers.primary.sql("REVOKE CREATE ON SCHEMA public FROM pg_database_owner")
    try:
        weir = make_weir(HANDLERS, {"DB_WRITE_URL": servers.primary.url()})
        key = new_key()
        assert weir.post("/t/notes", {"text": key}, key).status == 202
        run = weir.command("migrate")
        assert run.returncode == 1 and "cannot be made: permission denied for schema public" in run.stderr
        processes.wait_until(lambda: weir.events("consumer_stopped"), "a word of it")
    finally:
        servers.primary.sql("GRANT CREATE ON SCHEMA public TO pg_database_owner")
    wait_for_all(servers.primary, [key])
    assert letters(weir) == []


# ---- Servers that go away ----------------------------------------------------------


def test_a_primary_killed_at_random_moments_of_a_burst_applies_each_event_once(make_weir, servers, url):
    chance = random.Random(int(os.environ.get("WEIR_TEST_SEED", 11)))
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": url})
    burst = Burst(weir)
    try:
        for _ in range(3):
            time.sleep(chance.uniform(0.2, 0.7))
            servers.primary.kill()
            time.sleep(chance.uniform(0.1, 0.5))
            servers.primary.start()
    finally:
        burst.end()
    wait_for_all(servers.primary, burst.acknowledged)
    assert letters(weir) == []


def make_commits_slow(servers):
    """They take a second before they count."""
    servers.primary.sql(
        "CREATE OR REPLACE FUNCTION commit_slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER commit_slowly AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION commit_slowly();"
    )


def make_commits_wait(servers):
    """They count, and wait for a standby that never comes before they say so."""
    servers.primary.admin("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    servers.primary.admin("SELECT pg_reload_conf()")


def let_commits_go(servers):
    """Whether the server runs or not."""
    os.truncate(os.path.join(servers.primary.data, "postgresql.auto.conf"), 0)
    if servers.primary.process.poll() is None:
        servers.primary.admin("SELECT pg_reload_conf()")


@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.parametrize("prepare, event", [(make_commits_slow, "PgSleep"), (make_commits_wait, "SyncRep")])
def test_a_primary_that_goes_in_the_middle_of_a_commit_applies_each_event_once(make_weir, servers, prepare, event, how):
    """On both sides of the moment from which it counts, which weir cannot know."""
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": servers.primary.url(), "DB_TIMEOUT": "2s"})
    keys = [new_key() for _ in range(3)]
    weir.wait_operation(weir.post("/t/notes", {"text": "x"}, keys[0]).header("Location"))
    prepare(servers)
    try:
        assert weir.post("/t/notes", {"text": "x"}, keys[1]).status == 202
        where = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{postgres.ROLE}' AND wait_event = '{event}' AND query = 'COMMIT'"
        processes.wait_until(lambda: servers.primary.admin(where) == "1", "a commit")
        servers.primary.kill() if how == "killed" else servers.primary.freeze()
        assert weir.post("/t/notes", {"text": "x"}, keys[2]).status == 202
        processes.wait_until(lambda: weir.events("consumer_waits"), "a word of it")
    finally:
        if how == "frozen":
            servers.primary.thaw()
        let_commits_go(servers)
        if how == "killed":
            servers.primary.start()
    wait_for_all(servers.primary, keys)
    assert letters(weir) == []


def test_backends_killed_again_and_again_apply_each_event_once(make_weir, servers, url):
    """pg_terminate_backend comes at any moment, also between COMMIT and its answer."""
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": url})
    burst = Burst(weir)
    try:
        for _ in range(40):
            time.sleep(0.05)
            servers.primary.admin(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{postgres.ROLE}'"
            )
    finally:
        burst.end()
    wait_for_all(servers.primary, burst.acknowledged)
    assert letters(weir) == []


def test_a_stalled_primary_is_waited_for(make_weir, servers, url):
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": url, "DB_TIMEOUT": "1s"})
    burst = Burst(weir)
    try:
        time.sleep(0.3)
        consumer = weir.consumer()
        servers.primary.freeze()
        time.sleep(6)
        assert weir.consumer() == consumer, "it waits, and is not taken for dead"
        assert waits_with(weir, "08006") or waits_with(weir, "08001")
        before = len(burst.acknowledged)
        time.sleep(0.5)
        assert len(burst.acknowledged) > before, "writes go on"
    finally:
        servers.primary.thaw()
        burst.end()
    wait_for_all(servers.primary, burst.acknowledged)
    assert letters(weir) == []


def test_pgbouncer_restarted_in_a_burst_costs_nothing(make_weir, servers):
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": servers.bouncer.url()})
    burst = Burst(weir)
    try:
        for end in (servers.bouncer.stop, servers.bouncer.kill):
            time.sleep(0.5)
            end()
            time.sleep(0.5)
            servers.bouncer.start()
    finally:
        burst.end()
    wait_for_all(servers.primary, burst.acknowledged)
    assert letters(weir) == []


def test_operations_are_503_while_the_primary_is_away_and_never_404(make_weir, servers):
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": servers.primary.url(), "DB_TIMEOUT": "1s"})
    done = weir.post("/t/notes", {"text": "x"}, new_key()).header("Location")
    weir.wait_operation(done)
    servers.primary.kill()
    try:
        assert weir.get(done).status == 503
        waiting = weir.post("/t/notes", {"text": "y"}, new_key())
        assert waiting.status == 202
        assert weir.get(waiting.header("Location")).json()["status"] == "accepted", "the spool knows"
        assert weir.get("/api/v1/operations/" + str(uuid.uuid4())).status in (404, 503)
    finally:
        servers.primary.start()
    weir.wait_operation(waiting.header("Location"), timeout=30)
    weir.wait_operation(done)


# ---- Consumers that die --------------------------------------------------------------


@pytest.mark.storm
def test_a_consumer_killed_at_random_moments_applies_each_event_once(make_weir, servers, url):
    chance = random.Random(int(os.environ.get("WEIR_TEST_SEED", 13)))
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": url})
    burst = Burst(weir)
    killed = 0
    try:
        while killed < 15:
            time.sleep(chance.uniform(0.02, 0.2))
            consumer = weir.consumer()
            if consumer is not None:
                os.kill(consumer, signal.SIGKILL)
                killed += 1
    finally:
        burst.end()
    wait_for_all(servers.primary, burst.acknowledged)
    assert letters(weir) == []


def test_a_consumer_that_hangs_in_a_batch_does_not_keep_its_keys_from_others(make_weir, servers):
    """Its transaction ends on the server, and another host goes on with the same events."""
    hosts = [make_weir(HANDLERS, {"DB_WRITE_URL": servers.primary.url()}) for _ in range(2)]
    servers.primary.sql(
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END $$;"
        "CREATE TRIGGER slowly BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION slowly();"
    )
    try:
        keys = [new_key() for _ in range(3)]
        for key in keys:
            assert hosts[0].post("/t/notes", {"text": key}, key).status == 202
        processes.wait_until(
            lambda: servers.primary.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") != "0", "a batch at work"
        )
        hung = hosts[0].consumer()
        os.kill(hung, signal.SIGSTOP)
        for key in keys:
            assert hosts[1].post("/t/notes", {"text": key}, key).status == 202
        wait_for_all(servers.primary, keys, timeout=40)
        assert hosts[0].consumer() == hung, "so it was the server that let its keys go"
    finally:
        try:
            os.kill(hung, signal.SIGCONT)
        except ProcessLookupError:
            pass  # the supervisor has replaced it
        servers.primary.sql("DROP FUNCTION slowly() CASCADE")
    processes.wait_until(lambda: hosts[0].status()["spool"]["waiting"] == 0, "an empty spool", 40)
    wait_for_all(servers.primary, keys)


# ---- Another primary -------------------------------------------------------------------


def test_a_standby_is_waited_for_and_written_to_once_it_is_promoted(make_weir, make_postgres):
    servers = make_postgres(replicas=1, bouncer=False)
    servers.primary.sql(EMPTY)
    weir = make_weir(HANDLERS, {"DB_WRITE_URL": servers.primary.url()})
    weir.wait_operation(weir.post("/t/notes", {"text": "first"}, "first").header("Location"))
    servers.replicas[0].catch_up(servers.primary)
    weir.stop()
    # What a failover looks like from here: the same settings lead to a server that only reads.
    weir.env["DB_WRITE_URL"] = servers.replicas[0].url()
    weir.start()
    keys = ["first"] + [new_key() for _ in range(20)]
    for key in keys[1:]:
        assert weir.post("/t/notes", {"text": key}, key).status == 202
    processes.wait_until(lambda: waits_with(weir, "25006"), "a word of it")
    time.sleep(1)
    assert letters(weir) == []
    servers.replicas[0].promote()
    wait_for_all(servers.replicas[0], keys)
    assert letters(weir) == []
