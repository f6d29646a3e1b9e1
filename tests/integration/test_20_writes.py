"""Goal: a write is answered 202 once it is durable, applied exactly once, and its key means one write."""

import json
import os
import re
import sqlite3
import uuid

import pytest

import processes
import weir as house

SCHEMA = """
CREATE TABLE jots (tenant TEXT, id TEXT, event_id TEXT, text TEXT NOT NULL, size INTEGER CHECK (size < 100),
                   extra TEXT, at TEXT);
CREATE TABLE marks (tenant TEXT, id TEXT, value TEXT);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counters VALUES ('a', 0);
"""

HANDLERS = {
    "jot_add.sql": """-- POST /t/jots
-- body text: text, min 1, max 64
-- body size: integer, optional
-- body extra: object, optional
-- invalidates: jots
INSERT INTO jots (tenant, id, event_id, text, size, extra, at)
VALUES (:tenant, :idempotency_key, :event_id, :text, :size, :extra, :accepted_at);
""",
    "jot_list.sql": """-- GET /t/jots
-- cache: 1h
-- tags: jots
-- max-rows: 100000
SELECT id, text FROM jots WHERE tenant = :tenant ORDER BY rowid;
""",
    "mark_add.sql": """-- POST /t/marks
-- body value: any
INSERT INTO marks (tenant, id, value) VALUES (:tenant, :idempotency_key, :value);
""",
    "counter_add.sql": """-- POST /t/counters/:name
-- param name: text
-- idempotency: optional
UPDATE counters SET value = value + 1 WHERE name = :name;
""",
    "jot_put.sql": """-- PUT /t/jots/:id
-- param id: text
-- body text: text
UPDATE jots SET text = :text WHERE tenant = :tenant AND id = :id;
""",
    "jot_delete.sql": """-- DELETE /t/jots/:id
-- param id: text
DELETE FROM jots WHERE tenant = :tenant AND id = :id;
""",
    "late_add.sql": """-- POST /t/late
-- body text: text
INSERT INTO late (id, text) VALUES (:idempotency_key, :text);
""",
}


def jots(weir, key):
    return weir.rows("SELECT count(*) FROM jots WHERE id = ?", key)[0][0]


def new_key():
    return "k-" + uuid.uuid4().hex


# ---- Acceptance and application ----------------------------------------------


def test_an_accepted_write_has_its_body_location_and_retry_after(weir):
    key = new_key()
    reply = weir.post("/t/jots", {"text": "first"}, key)
    assert reply.status == 202
    assert reply.header("Content-Type").startswith("application/json")
    assert reply.json() == {"status": "accepted", "eventId": key}
    event_id = re.fullmatch(r"/api/v1/operations/([0-9a-f-]{36})", reply.header("Location")).group(1)
    assert uuid.UUID(event_id).version == 8
    assert int(reply.header("Retry-After")) >= 1
    assert "store" in reply.header("Cache-Control")
    assert weir.wait_operation(reply.header("Location")).json()["rows"] == 1
    assert weir.rows("SELECT tenant, event_id, text FROM jots WHERE id = ?", key) == [("", event_id, "first")]


def test_every_host_makes_the_same_event_id(weir, make_weir):
    other = make_weir(HANDLERS, schema=SCHEMA)
    one, two = (w.post("/t/jots", {"text": "x"}, "same-on-all-hosts") for w in (weir, other))
    assert one.header("Location") == two.header("Location")


def test_a_read_that_the_write_invalidates_shows_it(weir):
    before = weir.get("/t/jots").json()
    reply = weir.post("/t/jots", {"text": "seen"}, new_key())
    weir.wait_operation(reply.header("Location"))
    assert weir.get("/t/jots").json() == before + [{"id": reply.json()["eventId"], "text": "seen"}]


def test_put_and_delete_are_queued_as_well(weir):
    key = new_key()
    weir.wait_operation(weir.post("/t/jots", {"text": "one"}, key).header("Location"))
    put = weir.post(f"/t/jots/{key}", {"text": "two"}, new_key(), method="PUT")
    assert put.status == 202
    assert weir.wait_operation(put.header("Location")).json()["rows"] == 1
    assert weir.rows("SELECT text FROM jots WHERE id = ?", key) == [("two",)]
    delete = weir.request("DELETE", f"/t/jots/{key}", {"Idempotency-Key": new_key()})
    assert delete.status == 202
    assert weir.wait_operation(delete.header("Location")).json()["rows"] == 1
    assert jots(weir, key) == 0


def test_a_body_object_is_bound_as_the_clients_own_bytes(weir):
    key = new_key()
    text = '{ "b" : 1.50, "a":[1e2, 1234567890123456789] }'
    body = b'{"text":"x","extra":' + text.encode() + b"}"
    weir.wait_operation(weir.post("/t/jots", key=key, body=body).header("Location"))
    assert weir.rows("SELECT extra FROM jots WHERE id = ?", key) == [(text,)]


@pytest.mark.parametrize("text", ["null", "true", '"a"', "[1, 2]", "17", '{"a":1}'])
def test_any_takes_any_json_value(weir, text):
    reply = weir.post("/t/marks", key=new_key(), body=b'{"value":' + text.encode() + b"}")
    assert reply.status == 202
    assert weir.wait_operation(reply.header("Location")).json()["rows"] == 1


def test_many_writes_at_once_are_each_applied_once(weir):
    keys = [new_key() for _ in range(300)]

    def work(i):
        return [weir.post("/t/jots", {"text": "many"}, key) for key in keys[i::10]]

    replies = [reply for some in house.all_at_once(10, work) for reply in some]
    assert {reply.status for reply in replies} == {202}
    processes.wait_until(lambda: all(jots(weir, key) == 1 for key in keys), "all writes to be applied")
    weir.wait_operation(replies[-1].header("Location"))
    assert [key for key in keys if jots(weir, key) != 1] == []


# ---- Idempotency -------------------------------------------------------------


def test_the_same_key_and_parameters_replay_the_stored_answer(weir):
    key = new_key()
    first = weir.post("/t/jots", key=key, body=b'{"text":"x","size":1}')
    assert first.header("Idempotent-Replayed") is None
    again = weir.post("/t/jots", key=key, body=b' {"size": 1, "text": "\\u0078"} ')
    assert again.status == 202
    assert again.header("Idempotent-Replayed") == "true"
    assert (again.body, again.header("Location")) == (first.body, first.header("Location"))
    weir.wait_operation(first.header("Location"))
    assert weir.post("/t/jots", {"text": "x", "size": 1}, key).header("Idempotent-Replayed") == "true"
    assert jots(weir, key) == 1


def test_the_same_key_with_other_parameters_is_422(weir):
    key = new_key()
    assert weir.post("/t/jots", {"text": "x"}, key).status == 202
    reply = weir.post("/t/jots", {"text": "y"}, key)
    assert reply.status == 422
    assert reply.header("Content-Type").startswith("application/problem+json")
    assert weir.post("/t/jots", {"text": "x", "size": 1}, key).status == 422


def test_a_bare_key_and_a_quoted_one_are_the_same(weir):
    key = new_key()
    first = weir.post("/t/jots", {"text": "x"}, key)
    quoted = weir.post("/t/jots", {"text": "x"}, f'"{key}"')
    assert quoted.status == 202 and quoted.header("Idempotent-Replayed") == "true"
    assert quoted.header("Location") == first.header("Location")
    assert quoted.json()["eventId"] == key


def test_a_missing_key_is_400_where_one_is_required(weir):
    reply = weir.post("/t/jots", {"text": "x"})
    assert reply.status == 400 and "Idempotency-Key" in reply.json()["detail"]


@pytest.mark.parametrize("key", ["", '""', "x" * 256, '"' + "x" * 256 + '"', '"open', "caf\xe9", '"a\\b"', '"a" "b"'])
def test_a_key_that_is_none_is_400(weir, key):
    assert weir.post("/t/jots", {"text": "x"}, key).status == 400


def test_two_keys_are_400(weir):
    assert weir.post("/t/jots", {"text": "x"}, headers={"Idempotency-Key": ["a1", "a2"]}).status == 400


def test_a_key_of_255_characters_is_taken(weir):
    key = uuid.uuid4().hex + "x" * 223
    reply = weir.post("/t/jots", {"text": "x"}, key)
    assert reply.status == 202 and reply.json()["eventId"] == key


def test_without_a_key_the_request_id_is_the_key_where_it_is_optional(weir):
    before = weir.rows("SELECT value FROM counters WHERE name = 'a'")[0][0]
    replies = [weir.request("POST", "/t/counters/a", body=b"") for _ in range(2)]
    for reply in replies:
        assert reply.status == 202
        assert reply.json()["eventId"] == reply.header("X-Request-Id")
        weir.wait_operation(reply.header("Location"))
    assert weir.rows("SELECT value FROM counters WHERE name = 'a'") == [(before + 2,)]
    # The front's own retry brings the same id.
    same = {"REQUEST_ID": "retry-of-the-front-1"}
    assert [weir.fcgi("POST", "/t/counters/a", **same).status for _ in range(3)] == [202] * 3
    event = weir.fcgi("POST", "/t/counters/a", **same).header("Location")
    weir.wait_operation(event)
    assert weir.rows("SELECT value FROM counters WHERE name = 'a'") == [(before + 3,)]


def test_the_same_key_sent_at_once_is_one_write(weir):
    key = new_key()
    replies = house.all_at_once(24, lambda i: weir.post("/t/jots", {"text": "race"}, key))
    assert {r.status for r in replies} <= {202, 409}
    firsts = [r for r in replies if r.status == 202 and r.header("Idempotent-Replayed") is None]
    assert len(firsts) == 1
    weir.wait_operation(firsts[0].header("Location"))
    assert jots(weir, key) == 1


def test_different_bodies_with_one_key_at_once_are_one_write(weir):
    key = new_key()
    replies = house.all_at_once(12, lambda i: weir.post("/t/jots", {"text": f"race {i}"}, key))
    accepted = [r for r in replies if r.status == 202]
    assert len(accepted) == 1
    assert {r.status for r in replies} <= {202, 409, 422}
    weir.wait_operation(accepted[0].header("Location"))
    assert jots(weir, key) == 1


def test_keys_are_scoped_by_tenant_and_by_endpoint(weir):
    key = new_key()
    a = weir.fcgi_post("/t/jots", {"text": "of acme"}, key, tenant="acme")
    z = weir.fcgi_post("/t/jots", {"text": "of zeta"}, key, tenant="zeta")
    m = weir.fcgi_post("/t/marks", {"value": 1}, key, tenant="acme")
    assert [r.status for r in (a, z, m)] == [202] * 3
    assert [r.header("Idempotent-Replayed") for r in (a, z, m)] == [None] * 3
    assert len({r.header("Location") for r in (a, z, m)}) == 3

    def applied(reply, tenant):
        answer = weir.fcgi("GET", reply.header("Location"), tenant=tenant)
        return answer.status == 200 and answer.json()["status"] == "applied"

    for reply, tenant in ((a, "acme"), (z, "zeta"), (m, "acme")):
        processes.wait_until(lambda: applied(reply, tenant), "its application")
    assert weir.rows("SELECT tenant, text FROM jots WHERE id = ? ORDER BY 1", key) == [
        ("acme", "of acme"),
        ("zeta", "of zeta"),
    ]
    assert weir.rows("SELECT tenant FROM marks WHERE id = ?", key) == [("acme",)]


# ---- Operations --------------------------------------------------------------


def test_another_tenants_operation_is_404(weir):
    reply = weir.fcgi_post("/t/jots", {"text": "secret"}, new_key(), tenant="acme")
    location = reply.header("Location")
    assert weir.fcgi("GET", location, tenant="acme").status == 200
    assert weir.fcgi("GET", location, tenant="zeta").status == 404
    assert weir.fcgi("GET", location).status == 404
    assert weir.get(location).status == 404


def test_an_operation_that_never_was_is_404_and_a_malformed_one_400_or_404(weir):
    assert weir.get(f"/api/v1/operations/{uuid.uuid4()}").status == 404
    assert weir.get("/api/v1/operations/not-a-uuid").status in (400, 404)


# ---- The bad event, the bad deployment ---------------------------------------


def test_without_dead_letters_the_list_says_so(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA, front=False)
    # The consumer makes the tables at its start, which nobody waits for.
    processes.wait_until(lambda: weir.command("dlq", "list").returncode == 0, "weir's own tables")
    listed = weir.command("dlq", "list")
    assert (listed.returncode, listed.stderr) == (0, ""), listed
    assert listed.stdout == f"no dead letters in sqlite:{weir.state}/weir.db\n"
    as_json = weir.command("dlq", "list", "--json")
    assert (as_json.returncode, as_json.stdout) == (0, ""), "no letter is no line"


def test_a_bad_event_becomes_a_dead_letter_and_the_rest_is_applied(weir):
    keys = [new_key() for _ in range(20)]
    bad = keys[7]

    def work(i):
        return weir.fcgi_post("/t/jots", {"text": "x", "size": 100 if keys[i] == bad else 1}, keys[i], tenant="acme")

    replies = house.all_at_once(20, work)
    assert {r.status for r in replies} == {202}
    processes.wait_until(lambda: sum(jots(weir, k) for k in keys) == 19, "the good ones")
    assert jots(weir, bad) == 0
    location = replies[7].header("Location")

    def failed():
        answer = weir.fcgi("GET", location, tenant="acme").json()
        return answer if answer["status"] == "failed" else None

    assert "CHECK" in processes.wait_until(failed, "the failure")["reason"]

    event_id = location.rpartition("/")[2]
    listed = weir.command("dlq", "list")
    assert listed.returncode == 0 and event_id in listed.stdout and "23" in listed.stdout
    shown = weir.command("dlq", "show", event_id)
    assert shown.returncode == 0 and "CHECK" in shown.stdout
    retried = weir.command("dlq", "retry", event_id)
    assert retried.returncode == 1 and jots(weir, bad) == 0, "it still breaks the same rule"
    assert event_id in weir.command("dlq", "list").stdout
    dropped = weir.command("dlq", "drop", event_id)
    assert dropped.returncode == 0, dropped.stderr
    assert event_id not in weir.command("dlq", "list").stdout


def test_an_anonymous_caller_never_sees_the_reason_of_a_failure(weir):
    reply = weir.post("/t/jots", {"text": "x", "size": 100}, new_key())
    operation = weir.wait_operation(reply.header("Location"), "failed").json()
    assert "reason" not in operation and "CHECK" not in json.dumps(operation)


def test_a_retried_dead_letter_is_applied_when_its_reason_is_gone(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA + "CREATE UNIQUE INDEX one ON jots (text);")
    first, second = (weir.post("/t/jots", {"text": "same"}, key) for key in ("k1", "k2"))
    weir.wait_operation(first.header("Location"))
    weir.wait_operation(second.header("Location"), "failed")
    weir.write("DROP INDEX one;")
    retried = weir.command("dlq", "retry", second.header("Location").rpartition("/")[2])
    assert retried.returncode == 0, retried.stderr
    assert jots(weir, "k2") == 1
    assert weir.wait_operation(second.header("Location")).json()["rows"] == 1
    assert weir.post("/t/jots", {"text": "same"}, "k2").header("Idempotent-Replayed") == "true"


def test_a_late_migration_stops_the_consumer_and_loses_nothing(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    before = weir.post("/t/jots", {"text": "before"}, "k1")
    late = weir.post("/t/late", {"text": "x"}, "k2")
    after = weir.post("/t/jots", {"text": "after"}, "k3")
    assert [r.status for r in (before, late, after)] == [202] * 3
    weir.wait_operation(before.header("Location"))
    processes.wait_until(lambda: weir.admin("/ready").status == 503, "/ready to say so")
    assert weir.get(late.header("Location")).json()["status"] == "accepted"
    assert jots(weir, "k3") == 0, "the consumer stops before it"
    processes.wait_until(lambda: "late_add.sql" in weir.log(), "the log to say so")
    assert weir.get("/t/jots").status == 200, "reads are untouched"
    weir.write("CREATE TABLE late (id TEXT, text TEXT);")
    weir.wait_operation(late.header("Location"), timeout=90)
    weir.wait_operation(after.header("Location"))
    assert weir.rows("SELECT id, text FROM late") == [("k2", "x")]
    assert weir.command("dlq", "list").stdout.count("k2") == 0
    processes.wait_until(lambda: weir.admin("/ready").status == 200, "/ready again", 90)


# ---- Durability --------------------------------------------------------------


def spool_only(make_weir, **env):
    """A weir that accepts and does not apply."""
    weir = make_weir(HANDLERS, env, SCHEMA, start=False)
    weir.serve_options = ["--no-consumer"]
    return weir.start()


def test_accepted_writes_outlive_all_processes_and_are_applied_by_consume_once(make_weir):
    weir = spool_only(make_weir)
    assert weir.consumer() is None
    keys = [new_key() for _ in range(30)]
    assert {weir.post("/t/jots", {"text": "kept"}, key).status for key in keys} == {202}
    replay = weir.post("/t/jots", {"text": "kept"}, keys[0])
    assert replay.header("Idempotent-Replayed") == "true"
    members = weir.members()
    processes.kill_group(weir.serve)
    weir.serve.wait()
    assert [pid for pid in members if not processes.ends_within(pid, 10)] == []
    once = weir.command("consume", "--once")
    assert once.returncode == 0, once.stderr
    assert [jots(weir, key) for key in keys] == [1] * 30
    assert weir.command("consume", "--once").returncode == 0
    weir.start_serve()
    weir.wait_healthy()
    replay = weir.post("/t/jots", {"text": "kept"}, keys[0])
    assert replay.status == 202 and replay.header("Idempotent-Replayed") == "true"
    assert weir.get(replay.header("Location")).json()["status"] == "applied"


def test_a_full_spool_is_503_and_keeps_what_it_has_accepted(make_weir):
    weir = spool_only(make_weir, WEIR_SPOOL_BYTES="16m")
    body = json.dumps({"text": "big", "extra": {"x": "y" * 900_000}}).encode()
    accepted, refused = [], None
    for _ in range(60):
        key = new_key()
        reply = weir.post("/t/jots", key=key, body=body)
        if reply.status != 202:
            refused = reply
            break
        accepted.append(key)
    assert refused is not None and refused.status == 503
    assert int(refused.header("Retry-After")) >= 1
    assert refused.header("Content-Type").startswith("application/problem+json")
    assert len(accepted) >= 3
    assert weir.get("/t/jots").status == 200, "reads are untouched"
    once = weir.command("consume", "--once")
    assert once.returncode == 0, once.stderr
    assert weir.rows("SELECT id FROM jots ORDER BY rowid") == [(key,) for key in accepted]


def test_an_expired_key_is_a_new_write(make_weir):
    weir = make_weir(HANDLERS, {"IDEMPOTENCY_TTL": "1s"}, SCHEMA)
    first = weir.post("/t/jots", {"text": "one"}, "short")
    weir.wait_operation(first.header("Location"))

    def forgotten():
        weir.post("/t/jots", {"text": "tick"}, new_key())  # expiry goes along with the consumer's work
        return weir.post("/t/jots", {"text": "two"}, "short").status == 202

    processes.wait_until(forgotten, "the key to be forgotten")
    processes.wait_until(lambda: jots(weir, "short") == 2, "the second write")


@pytest.mark.parametrize("how", [["--no-migrate"], ["WEIR_MIGRATE"]])
def test_told_not_to_migrate_the_consumer_waits_for_who_does(make_weir, how):
    weir = make_weir(HANDLERS, {"WEIR_MIGRATE": "off"} if "WEIR_MIGRATE" in how else {}, SCHEMA, start=False)
    weir.serve_options = [o for o in how if o.startswith("--")]
    weir.start()
    key = new_key()
    reply = weir.post("/t/jots", {"text": "x"}, key)
    assert reply.status == 202
    processes.wait_until(lambda: weir.admin("/ready").status == 503, "/ready to say so")
    assert weir.rows("SELECT name FROM sqlite_master WHERE name LIKE 'weir%'") == []
    assert weir.command("migrate").returncode == 0
    weir.wait_operation(reply.header("Location"))
    processes.wait_until(lambda: weir.admin("/ready").status == 200, "/ready again", 90)


def test_a_cron_job_beside_a_consumer_has_nothing_to_say(make_weir):
    weir = make_weir(HANDLERS, {}, SCHEMA)
    once = weir.command("consume", "--once")
    assert (once.returncode, once.stdout, once.stderr) == (0, "", ""), "else cron mails it every minute"


def test_migrate_makes_the_tables_and_may_be_repeated(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA, start=False, front=False)
    house.make_state(weir.state)
    weir.make_database()
    for _ in range(2):
        migrate = weir.command("migrate")
        assert migrate.returncode == 0, migrate.stderr
    names = {row[0] for row in weir.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"weir_keys", "weir_dead_letters"} <= names
    connection = sqlite3.connect(os.path.join(weir.state, "weir.db"))
    columns = {row[1] for row in connection.execute("PRAGMA table_info(weir_keys)")}
    connection.close()
    assert {"tenant", "endpoint", "key", "fingerprint", "event_id", "state", "reason", "rows", "at"} <= columns
