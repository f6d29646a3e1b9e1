"""Goal: one query for many readers, fresh and stale as the file says, and nothing old after a purge.

Each query of these endpoints answers a random nonce, so equal nonces mean one query.
"""

import os
import signal
import threading
import time

import pytest

import fcgi
import processes
import weir as house

SCHEMA = """
CREATE TABLE things (tenant TEXT, id TEXT, text TEXT);
INSERT INTO things VALUES ('', '1', 'one'), ('', '2', 'two');
CREATE TABLE fragile (id INTEGER);
INSERT INTO fragile VALUES (1);
"""

NONCE = "lower(hex(randomblob(8))) AS nonce"
# A statement that takes its time: about a third of a second on a slow machine.
SLOW = f"""WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1500000)
SELECT {NONCE}, count(*) AS n FROM c;
"""

HANDLERS = {
    "long.sql": f"-- GET /t/long\n-- cache: 1h\nSELECT {NONCE};\n",
    "short.sql": f"-- GET /t/short/:id\n-- param id: text\n-- cache: 1s\nSELECT {NONCE}, :id AS id;\n",
    "stale.sql": f"-- GET /t/stale/:id\n-- param id: text\n-- cache: 1s, stale 1h\nSELECT {NONCE}, :id AS id;\n",
    "off.sql": f"-- GET /t/off\n-- cache: off\nSELECT {NONCE};\n",
    "slow.sql": "-- GET /t/slow/:id\n-- param id: text\n-- cache: 1h\n-- tags: slow, slow-:id\n-- timeout: 30s\n"
    + SLOW.replace("count(*) AS n", "count(*) AS n, :id AS id"),
    "dear.sql": "-- GET /t/dear\n-- cache: 2s\n-- timeout: 30s\n" + SLOW,
    "slow_uncached.sql": "-- GET /t/slow-uncached\n-- timeout: 30s\n" + SLOW,
    "thing.sql": f"""-- GET /t/things/:id
-- param id: text
-- cache: 1h
-- tags: things, thing-:id
-- returns: one
SELECT id, text, {NONCE} FROM things WHERE tenant = '' AND id = :id;
""",
    "thing_put.sql": """-- PUT /t/things/:id
-- param id: text
-- body text: text
-- invalidates: thing-:id
UPDATE things SET text = :text WHERE tenant = '' AND id = :id;
""",
    "typed.sql": f"""-- GET /t/typed
-- param a: integer, default 1
-- param b: text, optional
-- cache: 1h
SELECT {NONCE}, :a AS a, :b AS b;
""",
    "mine.sql": f"-- GET /t/mine\n-- cache: 1h\nSELECT {NONCE}, :tenant AS tenant;\n",
    "fragile.sql": f"-- GET /t/fragile\n-- cache: 1s, if-error 1h\nSELECT id, {NONCE} FROM fragile;\n",
    "fragile_bare.sql": f"-- GET /t/fragile-bare\n-- cache: 1s\nSELECT id, {NONCE} FROM fragile;\n",
    "bulky.sql": f"-- GET /t/bulky/:id\n-- param id: integer\n-- cache: 1h\nSELECT {NONCE}, :id AS id, hex(zeroblob(50000)) AS filler;\n",
}


def nonce(reply):
    assert reply.status == 200, reply
    value = reply.json()
    return (value[0] if isinstance(value, list) else value)["nonce"]


def status_of(reply):
    return reply.header("Cache-Status")


# ---- Fresh and stale ---------------------------------------------------------


def test_the_second_read_is_a_hit(weir):
    first = weir.get("/t/long")
    assert status_of(first).startswith("weir; fwd=") and "stored" in status_of(first)
    assert first.header("Age") in (None, "0")
    replies = [weir.get("/t/long") for _ in range(20)]
    assert {nonce(r) for r in replies} == {nonce(first)}, "common to all workers"
    assert all(status_of(r).startswith("weir; hit") and "detail=l1" in status_of(r) for r in replies)
    assert all(int(r.header("Age")) >= 0 for r in replies)
    assert {r.header("ETag") for r in replies} == {first.header("ETag")}


def test_age_counts_the_seconds_since_the_query(weir):
    weir.get("/t/long")
    processes.wait_until(lambda: int(weir.get("/t/long").header("Age") or 0) >= 1, "an age of one second")


def test_what_is_not_cached_is_queried_each_time(weir):
    replies = [weir.get("/t/off") for _ in range(5)]
    assert len({nonce(r) for r in replies}) == 5


def test_a_copy_without_stale_is_gone_when_its_time_is_over(weir):
    first = nonce(weir.get("/t/short/1"))
    assert nonce(weir.get("/t/short/1")) == first
    processes.wait_until(lambda: nonce(weir.get("/t/short/1")) != first, "a new copy")


def test_what_is_dear_is_made_anew_behind_a_fresh_reply(weir):
    def early():
        reply = weir.get("/t/dear")
        assert reply.status == 200, reply
        return weir.counter("cache_refreshes_early") > 0

    processes.wait_until(early, "a refresh before its time")


def test_a_stale_copy_is_served_at_once_and_refreshed_behind(weir):
    first = nonce(weir.get("/t/stale/1"))
    time.sleep(1.2)  # past its fresh second
    stale = weir.get("/t/stale/1")
    assert nonce(stale) == first
    assert "detail=stale" in status_of(stale) and "hit" in status_of(stale)
    processes.wait_until(lambda: nonce(weir.get("/t/stale/1")) != first, "the refresh")


def test_if_error_keeps_an_old_answer_while_the_database_fails(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    first = nonce(weir.get("/t/fragile"))
    nonce(weir.get("/t/fragile-bare"))
    weir.write("ALTER TABLE fragile RENAME TO gone;")
    processes.wait_until(lambda: weir.get("/t/fragile-bare").status == 503, "the other copy to end")
    time.sleep(1.2)
    replies = [weir.get("/t/fragile") for _ in range(5)]
    assert {nonce(r) for r in replies} == {first}
    assert int(weir.get("/t/fragile-bare").header("Retry-After")) >= 1
    weir.write("ALTER TABLE gone RENAME TO fragile;")
    processes.wait_until(lambda: nonce(weir.get("/t/fragile")) != first, "a new copy")


# ---- Keys --------------------------------------------------------------------


def test_equal_parameters_have_one_copy_however_they_are_written(weir):
    targets = ["/t/typed", "/t/typed?a=1", "/t/typed?x=y&a=1", "/t/typed?%61=%31"]
    assert len({nonce(weir.get(t)) for t in targets}) == 1
    targets = ["/t/typed?a=2&b=x", "/t/typed?b=x&a=2", "/t/typed?b=%78&a=2&utm=1"]
    assert len({nonce(weir.get(t)) for t in targets}) == 1


def test_different_parameters_never_share_a_copy(weir):
    targets = ["/t/typed?a=3", "/t/typed?a=3&b=", "/t/typed?a=3&b=x", "/t/typed?a=33", "/t/typed?a=3&b=3"]
    assert len({nonce(weir.get(t)) for t in targets}) == len(targets)


def test_tenants_never_share_a_copy(weir):
    def read(tenant):
        return weir.fcgi("GET", "/t/mine", tenant=tenant)

    nonces = {tenant: nonce(read(tenant)) for tenant in ("acme", "zeta", "")}
    assert len(set(nonces.values())) == 3
    for tenant, value in nonces.items():
        again = read(tenant)
        assert nonce(again) == value and "hit" in status_of(again)
        assert again.json()[0]["tenant"] == tenant


# ---- Single flight -----------------------------------------------------------


def test_many_readers_of_a_missing_copy_cause_one_query(weir):
    before = weir.counter("queries")
    replies = house.all_at_once(60, lambda i: weir.get("/t/slow/crowd"))
    assert weir.counter("queries") == before + 1
    assert len({nonce(r) for r in replies}) == 1
    assert any("collapsed" in status_of(r) for r in replies)


def test_a_reader_that_goes_away_does_not_break_the_others(weir):
    def impatient(i):
        with weir.connect(timeout=20) as connection:
            connection.send(fcgi.records(fcgi.params_for("GET", "/t/slow/leaver")))
            time.sleep(0.05)

    def patient(i):
        return impatient(i) if i < 10 else weir.get("/t/slow/leaver")

    replies = [r for r in house.all_at_once(30, patient) if r is not None]
    assert len(replies) == 20 and len({nonce(r) for r in replies}) == 1


def test_a_killed_leader_is_replaced_at_once(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    results = []
    readers = [threading.Thread(target=lambda: results.append(weir.get("/t/slow/killed"))) for _ in range(30)]
    workers = weir.workers()
    assert len(workers) == 2
    for reader in readers:
        reader.start()
    for pid in workers:  # the leader is one of them; all of its readers are retried by nginx
        time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
    for reader in readers:
        reader.join()
    assert len(results) == 30
    assert {r.status for r in results} == {200}
    assert len({nonce(r) for r in results}) <= 3
    assert "hit" in status_of(weir.get("/t/slow/killed")), "the key is not stuck"


# ---- Purges ------------------------------------------------------------------


def test_a_write_drops_the_copies_of_its_tags_and_no_others(weir):
    one, two = nonce(weir.get("/t/things/1")), nonce(weir.get("/t/things/2"))
    reply = weir.post("/t/things/1", {"text": "changed"}, "put-1", method="PUT")
    weir.wait_operation(reply.header("Location"))
    after = weir.get("/t/things/1")
    assert nonce(after) != one and after.json()["text"] == "changed"
    assert nonce(weir.get("/t/things/2")) == two


@pytest.mark.parametrize("what", [["thing-2"], ["things"], ["nothing-else", "thing-2"], ["--path", "/t/things/2"], ["--all"]])
def test_purge_drops_what_it_is_told(weir, what):
    before = nonce(weir.get("/t/things/2"))
    assert nonce(weir.get("/t/things/2")) == before
    purge = weir.command("purge", *what)
    assert purge.returncode == 0, purge.stderr
    assert nonce(weir.get("/t/things/2")) != before


def test_purge_leaves_other_tags_alone(weir):
    kept = nonce(weir.get("/t/long"))
    assert weir.command("purge", "things", "thing-1").returncode == 0
    assert nonce(weir.get("/t/long")) == kept


def test_an_untagged_copy_has_its_endpoints_name_as_tag(weir):
    before = nonce(weir.get("/t/long"))
    assert weir.command("purge", "long").returncode == 0
    assert nonce(weir.get("/t/long")) != before


def test_purge_without_a_running_weir_says_where_it_looked(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA, start=False, front=False)
    house.make_state(weir.state)
    purge = weir.command("purge", "things")
    assert purge.returncode == 1 and weir.state in purge.stderr
    assert weir.command("purge").returncode == 2


def test_a_purge_during_a_fill_leaves_nothing_old_behind(weir):
    result = []
    reader = threading.Thread(target=lambda: result.append(weir.get("/t/slow/purged")))
    reader.start()
    time.sleep(0.1)  # inside the query
    assert weir.command("purge", "slow-purged").returncode == 0
    still_filling = reader.is_alive()
    reader.join()
    after = weir.get("/t/slow/purged")
    if still_filling:
        assert nonce(after) != nonce(result[0])
    assert nonce(weir.get("/t/slow/purged")) == nonce(after), "the next copy is kept again"


# ---- Room --------------------------------------------------------------------


def test_more_copies_than_there_is_room_for_evict_old_ones(weir):
    for i in range(400):  # 40 MB through a cache of 16 MiB
        assert weir.get(f"/t/bulky/{i}").json()[0]["id"] == i
    last = weir.get("/t/bulky/399")
    assert "hit" in status_of(last)
    assert weir.get("/t/long").status == 200


def test_every_read_under_pressure_is_the_right_one(weir):
    def reader(part):
        for i in range(60):
            n = (i * 7 + part * 13) % 300
            assert weir.get(f"/t/bulky/{n}").json()[0]["id"] == n

    house.all_at_once(8, reader)
