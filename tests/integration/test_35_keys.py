"""Goal: an API key says who its tenant is, on every worker, until it is revoked; nothing else does, and no secret shows."""

import contextlib
import fcntl
import json
import os
import re
import secrets
import sqlite3
import time

import pytest

import processes
import weir as house

SCHEMA = """
CREATE TABLE notes (tenant TEXT, id TEXT, text TEXT, PRIMARY KEY (tenant, id));
INSERT INTO notes VALUES ('acme', '1', 'of acme'), ('zeta', '1', 'of zeta'), ('', '1', 'of nobody');
"""

HANDLERS = {
    "open.sql": "-- GET /t/open\n-- cache: 1h\nSELECT 1 AS one;\n",
    "mine.sql": (
        "-- GET /t/mine\n-- auth: required\n-- cache: 1h\n-- tags: notes\n"
        "SELECT id, text FROM notes WHERE tenant = :tenant ORDER BY id;\n"
    ),
    "note.sql": (
        "-- POST /t/notes\n-- auth: required\n-- body text: text\n-- invalidates: notes\n"
        "INSERT INTO notes (tenant, id, text) VALUES (:tenant, :idempotency_key, :text);\n"
    ),
    "tight.sql": "-- GET /t/tight\n-- auth: required\n-- limit: 3/h by tenant\nSELECT :tenant AS tenant;\n",
}

KEY = re.compile(r"^weir_([0-9a-f]{16})_([0-9a-f]{64})$")
BURST = 20


def add(weir, tenant, *options):
    """A new key of the tenant."""
    run = weir.command("key", "add", tenant, *options)
    assert run.returncode == 0, run
    assert KEY.match(run.stdout.strip()), "the key alone on its line"
    assert run.stdout.strip() not in run.stderr
    return run.stdout.strip()


def id_of(key):
    return KEY.match(key).group(1)


def revoke(weir, key):
    run = weir.command("key", "revoke", id_of(key))
    assert run.returncode == 0, run


def listed(weir):
    run = weir.command("key", "list", "--json")
    assert run.returncode == 0, run
    return {row["id"]: row for row in map(json.loads, run.stdout.splitlines())}


def invented():
    return f"weir_{secrets.token_hex(8)}_{secrets.token_hex(32)}"


def header(key):
    return {"X-API-Key": key}


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def acme(weir):
    return add(weir, "acme")


@pytest.fixture(scope="module")
def zeta(weir):
    return add(weir, "zeta", "--plan", "gold")


# ---- The command -------------------------------------------------------------


def test_a_key_is_shown_once_and_the_list_hides_its_secret(weir, acme, zeta):
    rows = listed(weir)
    assert rows[id_of(acme)]["tenant"] == "acme" and rows[id_of(acme)]["plan"] is None
    assert rows[id_of(zeta)]["tenant"] == "zeta" and rows[id_of(zeta)]["plan"] == "gold"
    assert rows[id_of(acme)]["revokedAt"] is None
    text = weir.command("key", "list").stdout
    for key in (acme, zeta):
        assert id_of(key) in text
        assert KEY.match(key).group(2) not in text + json.dumps(rows)


def test_only_a_hash_is_stored(weir, acme):
    secret = KEY.match(acme).group(2)
    ((digest,),) = weir.rows("SELECT hash FROM weir_api_keys WHERE id = ?", id_of(acme))
    assert len(digest) == 32 and digest != bytes.fromhex(secret)
    for name in os.listdir(weir.state):
        path = os.path.join(weir.state, name)
        if os.path.isfile(path):
            with open(path, "rb") as f:
                content = f.read()
            assert secret.encode() not in content and bytes.fromhex(secret) not in content, name


def test_the_first_key_needs_no_running_server(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA, start=False)
    os.makedirs(weir.state, mode=0o700)
    key = add(weir, "acme")
    weir.write(SCHEMA)
    weir.start()
    assert weir.get("/t/mine", header(key)).status == 200


def test_a_database_that_is_not_there_is_named(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA, start=False)
    run = weir.command("key", "list")
    assert run.returncode == 1 and os.path.join(weir.state, "weir.db") in run.stderr.splitlines()[-1]


def test_revoking_is_said_and_may_be_repeated(weir):
    key = add(weir, "gone")
    first = weir.command("key", "revoke", id_of(key))
    assert first.returncode == 0 and "revoked" in first.stdout
    at = listed(weir)[id_of(key)]["revokedAt"]
    assert at
    again = weir.command("key", "revoke", id_of(key))
    assert again.returncode == 0 and "before" in again.stdout
    assert listed(weir)[id_of(key)]["revokedAt"] == at
    unknown = weir.command("key", "revoke", "0" * 16)
    assert unknown.returncode == 1 and "there is no such key" in unknown.stderr


@pytest.mark.parametrize(
    "line",
    [
        (),
        ("ad",),
        ("add",),
        ("add", ""),
        ("add", "a\nb"),
        ("add", "x" * 256),
        ("add", "acme", "--plan", ""),
        ("list", "acme"),
        ("list", "--plan", "gold"),
        ("revoke",),
        ("revoke", "nope"),
    ],
)
def test_a_wrong_line_is_wrong_usage(weir, line):
    run = weir.command("key", *line)
    assert run.returncode == 2 and run.stderr.startswith("weir key: ")


def test_a_secret_typed_in_the_wrong_place_is_not_repeated(weir, acme):
    run = weir.command("key", "revoke", acme)
    assert run.returncode == 2
    assert KEY.match(acme).group(2) not in run.stdout + run.stderr


# ---- Who calls ---------------------------------------------------------------


def test_both_headers_carry_a_key(weir, acme):
    for headers in (header(acme), bearer(acme), {"Authorization": f"bearer  {acme}"}, {**header(acme), **bearer(acme)}):
        assert weir.get("/t/mine", headers).json()[0] == {"id": "1", "text": "of acme"}


def test_apaches_name_for_the_header_counts_too(weir, acme):
    reply = weir.fcgi("GET", "/t/mine", REDIRECT_HTTP_AUTHORIZATION=f"Bearer {acme}")
    assert reply.json()[0]["text"] == "of acme"


def test_a_key_that_is_not_good_is_401_wherever_it_is_sent(weir, acme):
    changed = acme[:-1] + ("0" if acme[-1] != "0" else "1")
    for target in ("/t/mine", "/t/open", "/api/v1/health"):
        for key in (invented(), changed, "nonsense", acme.upper(), acme[:-1], acme + "0", "x" * 3000):
            for headers in (header(key), bearer(key)):
                reply = weir.get(target, headers)
                assert reply.status == 401, (target, headers)
                assert reply.header("WWW-Authenticate").startswith("Bearer ")
                assert reply.header("Cache-Control") == "no-store"
                assert reply.header("Content-Type") == "application/problem+json"
                assert key not in reply.body.decode(), "what was sent is not repeated"
    assert weir.get("/t/open").status == 200, "nobody needs a key here"


def test_two_keys_are_no_key(weir, acme, zeta):
    assert weir.get("/t/mine", {**header(acme), **bearer(zeta)}).status == 401
    assert weir.get("/t/mine", {"X-API-Key": [acme, zeta]}).status == 401
    assert weir.get("/t/mine", {"X-API-Key": [acme, acme]}).status == 401
    twice = [("Authorization", f"Bearer {acme}"), ("Authorization", f"Bearer {zeta}")]
    assert weir.fcgi("GET", "/t/mine", twice).status == 401


def test_basic_authorization_is_the_front_servers_own(weir, acme):
    basic = {"Authorization": "Basic dXNlcjpwYXNz"}
    assert weir.get("/t/open", basic).status == 200
    assert weir.get("/t/mine", basic).status == 401, "it makes nobody a tenant"
    assert weir.get("/t/mine", {**basic, **header(acme)}).json()[0]["text"] == "of acme"


def test_key_and_front_server_must_name_the_same_tenant(weir, acme):
    assert weir.fcgi("GET", "/t/mine", header(acme), tenant="acme").status == 200
    reply = weir.fcgi("GET", "/t/mine", header(acme), tenant="zeta")
    assert reply.status == 403
    assert "acme" not in reply.body.decode(), "nor is the key's tenant told to who may not be it"
    assert weir.fcgi("GET", "/t/mine", header(invented()), tenant="acme").status == 401
    assert weir.fcgi("GET", "/t/mine", header(acme), tenant="").status == 200


def test_tenants_see_neither_each_others_rows_nor_copies(weir, acme, zeta):
    for _ in range(2):
        for key, text in ((acme, "of acme"), (zeta, "of zeta")):
            reply = weir.get("/t/mine", header(key))
            assert [row["text"] for row in reply.json() if row["id"] == "1"] == [text]
            assert reply.header("Cache-Control").startswith("private")
            assert {"Authorization", "X-API-Key"} <= {v.strip() for v in reply.header("Vary").split(",")}
    assert "hit" in weir.get("/t/mine", header(zeta)).header("Cache-Status")
    assert weir.get("/t/mine").status == 401, "a copy is there, and not for everybody"


def test_a_write_carries_the_tenant_of_its_key(weir, acme, zeta):
    assert weir.post("/t/notes", {"text": "whose?"}, "n1").status == 401
    reply = weir.post("/t/notes", {"text": "written by acme"}, "n1", header(acme))
    assert reply.status == 202
    location = reply.header("Location")
    done = lambda: weir.get(location, bearer(acme)).json()["status"] == "applied"  # noqa: E731
    processes.wait_until(done, "its application")
    assert weir.get(location, bearer(zeta)).status == 404, "another tenant's"
    assert weir.rows("SELECT tenant, text FROM notes WHERE id = 'n1'") == [("acme", "written by acme")]
    assert {"id": "n1", "text": "written by acme"} in weir.get("/t/mine", header(acme)).json()
    other = weir.post("/t/notes", {"text": "written by zeta"}, "n1", header(zeta))
    assert other.status == 202, "keys of writes are scoped by tenant"
    assert other.header("Location") != location


def test_a_limit_by_tenant_counts_all_keys_of_the_tenant(weir, acme):
    keys = [acme, add(weir, "acme")]
    got = [weir.get("/t/tight", header(keys[i % 2])) for i in range(4)]
    assert [r.status for r in got] == [200] * 3 + [429]
    assert weir.get("/t/tight", header(add(weir, "beta"))).json() == [{"tenant": "beta"}]


# ---- Revoked -----------------------------------------------------------------


def test_a_revoked_key_stops_working_on_every_worker_within_a_second(weir):
    key = add(weir, "acme")
    everywhere = lambda: house.all_at_once(24, lambda i: weir.get("/t/mine", header(key)).status)  # noqa: E731
    assert set(everywhere()) == {200}
    revoke(weir, key)
    time.sleep(1)
    for _ in range(5):
        assert set(everywhere()) == {401}


def test_a_revoked_key_ends_for_writes_too_and_others_of_the_tenant_go_on(weir, acme):
    key = add(weir, "acme")
    assert weir.post("/t/notes", {"text": "x"}, "n2", header(key)).status == 202
    revoke(weir, key)
    time.sleep(1)
    assert weir.post("/t/notes", {"text": "x"}, "n3", header(key)).status == 401
    assert weir.post("/t/notes", {"text": "x"}, "n3", header(acme)).status == 202


# ---- Guessing ----------------------------------------------------------------


def test_after_a_burst_of_bad_keys_nothing_is_looked_up(weir, acme):
    client = "198.51.100.7"
    before = weir.counter("key_lookups")
    replies = [weir.get("/t/open", header(invented()), client=client) for _ in range(5 * BURST)]
    refused = [r for r in replies if r.status == 401]
    limited = [r for r in replies if r.status == 429]
    assert all(r.status == 401 for r in replies[:BURST])
    assert len(refused) + len(limited) == len(replies) and limited
    assert weir.counter("key_lookups") - before == len(refused), "those that were limited were not looked up"
    assert int(limited[0].header("Retry-After")) == 1
    assert limited[0].header("Content-Type") == "application/problem+json"
    assert weir.get("/t/open", header("nonsense"), client="198.51.100.8").status == 401, "another address"
    assert weir.get("/t/mine", header(acme), client=client).status == 200, "a key that is good is no guess"
    assert weir.get("/t/open", client=client).status == 200, "nor is no key"


def test_an_ipv6_network_is_one_address(weir):
    def get(n):
        return weir.get("/t/open", header("nonsense"), client=f"2001:db8:7:7::{n:x}").status

    got = [get(n) for n in range(1, 3 * BURST)]
    assert got[:BURST] == [401] * BURST and 429 in got
    assert weir.get("/t/open", header("nonsense"), client="2001:db8:7:8::1").status == 401


def test_a_malformed_key_never_reaches_the_database(weir):
    before = weir.counter("key_lookups")
    for key in ("nonsense", "weir_", "weir_x_y", "' OR 1=1 --", "weir_" + "0" * 81):
        assert weir.get("/t/open", header(key)).status == 401
    assert weir.counter("key_lookups") == before


def test_a_hot_key_is_seldom_asked_about(weir, acme):
    weir.get("/t/mine", header(acme))
    before, began = weir.counter("key_lookups"), time.monotonic()
    house.all_at_once(8, lambda i: [weir.get("/t/mine", header(acme)).status for _ in range(50)])
    took = time.monotonic() - began
    assert weir.counter("key_lookups") - before <= 2 * took + 16, "twice a second, and all that come at once"


# ---- A database that cannot be asked -----------------------------------------


@contextlib.contextmanager
def consumers_place(weir):
    with contextlib.ExitStack() as stack:
        for name in ("consumer.want", "consumer.lock"):
            lock = stack.enter_context(open(os.path.join(weir.state, name), "a"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked(weir):
    """Nobody else can even read: what some other program does that takes the file for itself."""
    connection = sqlite3.connect(os.path.join(weir.state, "weir.db"), timeout=30, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextlib.contextmanager
def gone(weir):
    """The file is not there, until it is again."""
    path = os.path.join(weir.state, "weir.db")
    os.rename(path, path + ".away")
    yield
    os.rename(path + ".away", path)


@pytest.mark.parametrize("fault", [locked, gone])
def test_while_the_database_cannot_be_asked_a_good_key_stays_good(make_weir, fault):
    weir = make_weir(HANDLERS, {"DB_IDLE_TIMEOUT": "1s"}, SCHEMA)
    good, unseen, revoked = add(weir, "acme"), add(weir, "zeta"), add(weir, "acme")
    assert weir.get("/t/mine", header(good)).status == 200
    assert weir.get("/t/mine", header(revoked)).status == 200
    revoke(weir, revoked)
    processes.wait_until(lambda: weir.get("/t/open", header(revoked)).status == 401, "the revocation")
    with consumers_place(weir):
        time.sleep(3)  # idle connections of the workers are closed by then
        with fault(weir):
            for n in range(3):
                assert weir.get("/t/mine", header(good)).status == 200, "from the cache, for its tenant"
                assert weir.post("/t/notes", {"text": "x"}, f"w{n}", bearer(good)).status == 202
                assert weir.get("/t/open").status == 200
                reply = weir.get("/t/open", header(unseen))
                assert reply.status == 503 and int(reply.header("Retry-After")) >= 1
                assert weir.get("/t/open", header(revoked)).status in (401, 503)
                time.sleep(1)
    assert len(weir.events("api_keys_unasked")) == 1
    processes.wait_until(lambda: weir.get("/t/open", header(unseen)).status == 200, "the database is asked again")
    assert len(weir.events("api_keys_asked_again")) == 1
    applied = lambda: len(weir.rows("SELECT 1 FROM notes WHERE tenant = 'acme' AND id LIKE 'w%'")) == 3  # noqa: E731
    processes.wait_until(applied, "the writes of the bad time")


# ---- Secrets -----------------------------------------------------------------


def test_no_secret_is_logged_or_told(weir, acme, zeta):
    told = weir.log() + weir.command("config").stdout + weir.command("status", "--json").stdout
    for key in (acme, zeta):
        assert KEY.match(key).group(2) not in told
    assert "Bearer weir_" not in told
