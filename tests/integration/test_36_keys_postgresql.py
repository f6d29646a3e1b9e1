"""Goal: hosts that share a PostgreSQL share API keys: one that is revoked on one host ends on all within a second, and a
database that stalls or is gone locks out nobody who was good."""

import time

import pytest

import processes
import weir as house

HANDLERS = {
    "open.sql": "-- GET /t/open\n-- cache: 1h\nSELECT 1 AS one;\n",
    "mine.sql": "-- GET /t/mine\n-- auth: required\n-- cache: 1h\nSELECT CAST(:tenant AS text) AS tenant;\n",
    "note.sql": (
        "-- POST /t/notes\n-- auth: required\n"
        "INSERT INTO notes (tenant, id) VALUES (:tenant, :idempotency_key);\n"
    ),
}


@pytest.fixture
def servers(module_postgres):
    return module_postgres


@pytest.fixture
def hosts(make_weir, servers):
    """Two, each with a segment of its own; one goes through PgBouncer."""
    servers.primary.sql("DROP TABLE IF EXISTS weir_api_keys, weir_keys, weir_dead_letters, notes")
    servers.primary.sql("CREATE TABLE notes (tenant text, id text)")
    return [make_weir(HANDLERS, {"DB_WRITE_URL": s.url()}) for s in (servers.primary, servers.bouncer)]


def header(key):
    return {"X-API-Key": key}


def run(weir, *args):
    done = weir.command("key", *args)
    assert done.returncode == 0, done
    return done.stdout.strip()


def test_a_key_works_on_every_host_until_it_is_revoked_on_one(hosts):
    a, b = hosts
    key = run(a, "add", "acme", "--plan", "gold")
    for weir in hosts:
        assert weir.get("/t/mine", header(key)).json() == [{"tenant": "acme"}]
        assert key.split("_")[1] in run(weir, "list")
        assert key.split("_")[2] not in run(weir, "list")
    run(b, "revoke", key.split("_")[1])
    time.sleep(1)
    for weir in hosts:
        assert set(house.all_at_once(16, lambda i, w=weir: w.get("/t/mine", header(key)).status)) == {401}


@pytest.mark.parametrize("fault", ["stalled", "gone"])
def test_a_database_that_is_away_locks_out_nobody_who_was_good(hosts, servers, fault):
    weir = hosts[0]
    good, unseen = run(weir, "add", "acme"), run(weir, "add", "zeta")
    assert weir.get("/t/mine", header(good)).status == weir.get("/t/open").status == 200
    if fault == "stalled":
        servers.primary.freeze()
    else:
        servers.primary.kill()
    try:
        for n in range(4):
            assert weir.post("/t/notes", {}, f"{fault}-{n}", header(good)).status == 202
            assert weir.get("/t/mine", header(good)).json() == [{"tenant": "acme"}]
            reply = weir.get("/t/open", header(unseen))
            assert reply.status == 503 and int(reply.header("Retry-After")) >= 1
            assert "API keys" in reply.json()["detail"]
            assert weir.get("/t/open").status == 200, "who sends no key is not touched"
            time.sleep(1)
        assert len(weir.events("api_keys_unasked")) == 1
    finally:
        if fault == "stalled":
            servers.primary.thaw()
        else:
            servers.primary.start()
    processes.wait_until(lambda: weir.get("/t/open", header(unseen)).status == 200, "the database is asked again", 60)
    assert weir.get("/t/mine", header(good)).status == 200
    assert len(weir.events("api_keys_asked_again")) == 1
    written = lambda: servers.primary.sql("SELECT tenant, count(*) FROM notes GROUP BY tenant")  # noqa: E731
    processes.wait_until(lambda: written() == "acme|4", "the writes of the bad time", 60)
