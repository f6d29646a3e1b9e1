"""Goal: reads go on while a replica, PgBouncer, a resolver or all databases are away, and connections stay bounded."""

import concurrent.futures
import os
import signal
import time

import pytest

import processes

HANDLERS = {
    "who.sql": "-- GET /t/who\n-- returns: one\nSELECT CAST(current_setting('port') AS integer) AS port;\n",
    "who_writes.sql": "-- GET /t/primary\n-- read: primary\n-- returns: one\nSELECT CAST(current_setting('port') AS integer) AS port;\n",
    "slow.sql": "-- GET /t/slow\n-- param s: number\n-- returns: one\nSELECT CAST(pg_sleep(:s) AS text) AS nothing;\n",
    "hasty.sql": "-- GET /t/hasty\n-- timeout: 400ms\n-- returns: one\nSELECT CAST(pg_sleep(20) AS text) AS nothing;\n",
    "kept.sql": "-- GET /t/kept\n-- cache: 1s, if-error 1h\nSELECT n FROM numbers ORDER BY n;\n",
    "numbers.sql": "-- GET /t/numbers\nSELECT n FROM numbers ORDER BY n;\n",
    "sly.sql": "-- GET /t/sly\nSELECT nextval('counter') AS n;\n",
    "fails.sql": "-- GET /t/fails\n-- param n: integer\nSELECT 1 / :n AS n;\n",
    "late.sql": "-- GET /t/late\nSELECT n FROM not_there_yet;\n",
}

SCHEMA = "CREATE TABLE numbers (n bigint); INSERT INTO numbers VALUES (1), (2); CREATE SEQUENCE counter;"


@pytest.fixture
def start(make_weir):
    """A weir on a new database of the servers."""

    def make(servers, env=None, **how):
        return make_weir(HANDLERS, env, SCHEMA, database=servers.database(), **how)

    return make


def port(weir, target="/t/who"):
    reply = weir.get(target)
    return reply.json()["port"] if reply.status == 200 else reply.status


def ports(weir, n=24):
    return {port(weir) for _ in range(n)}


def wait_ports(weir, want, what):
    """Once the answers come from `want`, they stay so."""
    processes.wait_until(lambda: ports(weir) == want, what, 30)


def quickest(weir, target="/t/who", n=5):
    """The least of some times, so that a busy machine does not matter."""
    times = []
    for _ in range(n):
        begun = time.monotonic()
        assert weir.get(target).status == 200
        times.append(time.monotonic() - begun)
    return min(times)


def test_reads_are_spread_over_the_replicas_and_read_primary_is_not(start, make_postgres):
    servers = make_postgres(replicas=2, bouncer=False)
    weir = start(servers)
    wait_ports(weir, {r.port for r in servers.replicas}, "both replicas")
    assert {port(weir, "/t/primary") for _ in range(10)} == {servers.primary.port}


def test_a_replica_that_is_killed_is_left_and_comes_back(start, make_postgres):
    servers = make_postgres(replicas=2, bouncer=False)
    weir = start(servers, {"CIRCUIT_BREAKER_RESET_TIMEOUT": "500ms"})
    a, b = servers.replicas
    a.kill()
    assert ports(weir) == {b.port}
    b.kill()
    assert ports(weir) == {servers.primary.port}
    a.start()
    wait_ports(weir, {a.port}, "the first replica again")


def test_a_server_that_failed_gets_its_load_back_by_and_by(start, make_postgres):
    """And what is not let through goes on elsewhere."""
    servers = make_postgres(replicas=1, bouncer=False)
    env = {"CIRCUIT_BREAKER_RESET_TIMEOUT": "6s", "CIRCUIT_BREAKER_VOLUME_THRESHOLD": "5", "LOG_LEVEL": "info"}
    weir = start(servers, env)
    replica = servers.replicas[0]

    def breaker():
        return next(b for b in weir.status()["breakers"] if b["name"] == "read-1")

    wait_ports(weir, {replica.port}, "the replica")
    replica.kill()
    processes.wait_until(lambda: ports(weir, 6) == {servers.primary.port} and breaker()["state"] != "closed", "open")
    assert breaker()["admittedPct"] == 0
    replica.start()
    processes.wait_until(lambda: breaker()["state"] == "closed", "closed again", 20)
    assert 10 <= breaker()["admittedPct"] < 100
    assert ports(weir, 40) <= {replica.port, servers.primary.port}
    wait_ports(weir, {replica.port}, "all reads on the replica again")
    processes.wait_until(lambda: breaker()["admittedPct"] == 100, "the end of the ramp", 20)
    changes = [(b["from"], b["to"]) for b in weir.log_lines() if b.get("event") == "breaker" and b["name"] == "read-1"]
    assert changes[-2:] == [("open", "half-open"), ("half-open", "closed")], changes
    assert all("failure_pct" in b for b in weir.log_lines() if b.get("event") == "breaker")
    assert weir.counter("retries") >= 5


def test_a_replica_that_is_stalled_delays_one_read_and_no_more(start, make_postgres):
    servers = make_postgres(replicas=1, bouncer=False)
    weir = start(servers, {"DB_TIMEOUT": "3s"})
    wait_ports(weir, {servers.replicas[0].port}, "the replica")
    servers.replicas[0].freeze()
    assert ports(weir) == {servers.primary.port}, "also the first read has an answer"
    assert quickest(weir) < 0.2, "who missed a deadline is not waited for again"
    assert '"name":"read-1"' in weir.log(), "the change of its breaker is said"
    servers.replicas[0].thaw()
    wait_ports(weir, {servers.replicas[0].port}, "the replica again, found by a probe")


def test_a_replica_that_lags_is_read_from_when_nobody_else_answers(start, make_postgres):
    servers = make_postgres(replicas=1, bouncer=False)
    weir = start(servers, {"DB_READ_MAX_LAG": "300ms"})
    replica = servers.replicas[0]
    wait_ports(weir, {replica.port}, "the replica")
    replica.pause_replay()
    servers.primary.sql("INSERT INTO numbers VALUES (3)", weir.database.name)
    wait_ports(weir, {servers.primary.port}, "the primary")
    assert [r["n"] for r in weir.get("/t/numbers").json()] == [1, 2, 3]
    servers.primary.kill()
    assert [r["n"] for r in weir.get("/t/numbers").json()] == [1, 2], "an old answer is better than none"
    servers.primary.start()
    replica.resume_replay()
    wait_ports(weir, {replica.port}, "the replica again")
    assert "replica_lags" in weir.log() and "replica_caught_up" in weir.log()


def test_a_replica_that_is_promoted_goes_on_answering(start, make_postgres):
    servers = make_postgres(replicas=1, bouncer=False)
    weir = start(servers)
    servers.primary.kill()
    servers.replicas[0].promote()
    assert ports(weir) == {servers.replicas[0].port}


def test_reads_through_pgbouncer_survive_its_restart(start, make_postgres):
    servers = make_postgres(replicas=0)
    weir = start(servers)
    assert ports(weir) == {servers.primary.port}
    servers.bouncer.restart()
    assert ports(weir) == {servers.primary.port}
    servers.bouncer.kill()
    assert weir.get("/t/who").status == 503
    servers.bouncer.start()
    processes.wait_until(lambda: port(weir) == servers.primary.port, "PgBouncer again")


def test_pgbouncer_before_a_stalled_server_is_left_as_well(start, make_postgres):
    servers = make_postgres(replicas=1)
    weir = start(servers, {"DB_READ_URL": servers.bouncer.url("read-1"), "DB_WRITE_URL": servers.primary.url()})
    wait_ports(weir, {servers.replicas[0].port}, "the replica")
    servers.replicas[0].freeze()
    assert ports(weir) == {servers.primary.port}
    assert quickest(weir) < 0.2
    servers.replicas[0].thaw()
    wait_ports(weir, {servers.replicas[0].port}, "the replica again")


def test_with_all_databases_down_a_stale_copy_is_served_else_503(start, make_postgres):
    servers = make_postgres(replicas=1, bouncer=False)
    weir = start(servers)
    fresh = weir.get("/t/kept")
    assert fresh.status == 200
    for server in servers.all():
        server.kill()
    processes.wait_until(lambda: weir.get("/t/kept").header("Cache-Status").find("stale") > 0, "a stale answer")
    assert weir.get("/t/kept").body == fresh.body
    reply = weir.get("/t/numbers")
    assert reply.status == 503 and int(reply.header("Retry-After")) > 0
    assert weir.get("/api/v1/health").status == 200
    servers.primary.start()
    processes.wait_until(lambda: weir.get("/t/numbers").status == 200, "the primary again")


def test_a_statement_that_takes_too_long_is_ended_on_the_server_too(start, postgres):
    weir = start(postgres)
    for _ in range(3):
        begun = time.monotonic()
        reply = weir.get("/t/hasty")
        assert reply.status == 504 and time.monotonic() - begun < 5
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND state = 'active' AND pid <> pg_backend_pid()"
    for server in (postgres.primary, *postgres.replicas):
        processes.wait_until(lambda s=server: s.admin(busy) == "0", "the end of the statement", 5)
    assert port(weir) == postgres.replicas[0].port, "a slow statement says nothing of its server"


def test_a_read_cannot_write_whatever_it_calls(start, postgres):
    weir = start(postgres, {"DB_READ_URL": None})
    assert weir.get("/t/sly").status == 503
    assert weir.database.write("SELECT last_value, is_called FROM counter") == "1|f"


def test_a_failure_of_the_values_is_no_failure_of_the_server(start, postgres):
    weir = start(postgres)
    for _ in range(30):
        assert weir.get("/t/fails?n=0").status == 400
        assert weir.get("/t/late").status == 503
    assert port(weir) == postgres.replicas[0].port
    weir.write("CREATE TABLE not_there_yet (n bigint)")
    assert weir.get("/t/late").json() == []


def readers(servers):
    """Connections whose last statement was the slow one: those of reads, and not the consumer's."""
    return int(servers.primary.admin("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep($1)%' AND datname <> 'postgres'"))


def test_connections_of_all_processes_stay_within_the_bound_and_come_back_from_the_dead(start, make_postgres):
    servers = make_postgres(replicas=0, bouncer=False)
    env = {"DB_READ_POOL_MAX": 3, "WEIR_WORKERS": 2, "WEIR_THREADS": 8, "DB_TIMEOUT": "20s", "DB_IDLE_TIMEOUT": "10m"}
    weir = start(servers, env)
    most = 0
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        asked = [pool.submit(lambda: weir.get("/t/slow?s=0.2").status) for _ in range(48)]
        while not all(f.done() for f in asked):
            most = max(most, readers(servers))
        assert {f.result() for f in asked} == {200}
    assert 1 < most <= 3
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        asked = [pool.submit(lambda: weir.get("/t/slow?s=0.2").status) for _ in range(12)]
        time.sleep(0.1)
        for pid in weir.workers():
            os.kill(pid, signal.SIGKILL)
        [f.result() for f in asked]
    processes.wait_until(lambda: weir.get("/t/who").status == 200, "a read after the workers' death", 10)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda _: weir.get("/t/slow?s=0.1").status, range(12))) == {200}


def test_fewer_connections_than_workers_starve_nobody(start, make_postgres):
    servers = make_postgres(replicas=0, bouncer=False)
    weir = start(servers, {"DB_READ_POOL_MAX": 1, "WEIR_WORKERS": 4, "DB_TIMEOUT": "10s", "DB_IDLE_TIMEOUT": "10m"})
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: weir.get("/t/who").status, range(200))) == {200}


def test_a_resolver_that_never_answers_is_not_waited_for(start, postgres, mute_resolver):
    """Its server is passed over, and the next one answers."""
    url = postgres.replicas[0].url
    weir = start(postgres, {"DB_READ_URL": url(host="replica.invalid"), "DB_TIMEOUT": "20s"}, start=False)
    weir.serve_prefix = mute_resolver
    weir.start()
    begun = time.monotonic()
    assert ports(weir) == {postgres.primary.port}
    assert time.monotonic() - begun < 5


def test_check_connect_prepares_on_postgresql(start, postgres):
    weir = start(postgres)
    weir.write("CREATE TABLE not_there_yet (n bigint)")
    run = weir.command("check", "--connect")
    assert run.returncode == 0, run
    folder = os.path.join(weir.folder, "handlers")
    with open(os.path.join(folder, "bad.sql"), "w") as f:
        f.write("-- GET /t/bad\n-- param x: text\nSELECT n,\n       nope FROM numbers\n WHERE :x = 'a';\n")
    for name, text in (("two.sql", "SELECT 1 AS a"), ("two.postgresql.sql", "SELECT 1 AS a, 2 AS b")):
        with open(os.path.join(folder, name), "w") as f:
            f.write(f"-- GET /t/two\n{text};\n")
    with open(os.path.join(folder, "write.sql"), "w") as f:
        f.write("-- POST /t/write\n-- body n: integer\nINSERT INTO numbers (nope) VALUES (:n);\n")
    run = weir.command("check", "--connect")
    assert run.returncode == 78
    assert "bad.sql:4:" in run.stdout and "nope" in run.stdout
    assert "two.postgresql.sql:2: the result's columns differ" in run.stdout
    assert "write.sql:3:" in run.stdout


def test_check_connect_names_the_server_that_does_not_answer(start, postgres):
    weir = start(postgres)
    weir.write("CREATE TABLE not_there_yet (n bigint)")
    dead = f"postgres://weir:hunter2@127.0.0.1:{processes.free_port()}/weir"
    good = weir.database.settings["DB_READ_URL"]
    run = weir.command("check", "--connect", env={"DB_READ_URL": f"{good},{dead}"})
    assert run.returncode == 78 and "does not answer" in run.stdout
    assert "hunter2" not in run.stdout + run.stderr and "weir-secret" not in run.stdout + run.stderr
