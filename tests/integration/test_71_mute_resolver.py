"""Goal: a resolver that never answers holds up nobody, whichever of the servers it is asked for, and not the end either."""

import time

import processes

HANDLERS = {
    "numbers.sql": "-- GET /t/numbers\n-- cache: 1h\nSELECT n FROM numbers ORDER BY n;\n",
    "limited.sql": "-- GET /t/limited\n-- limit: 3/h by ip\nSELECT n FROM numbers;\n",
    "number_add.sql": "-- POST /t/numbers\n-- body n: integer\nINSERT INTO numbers (n) VALUES (:n);\n",
}

SCHEMA = "CREATE TABLE numbers (n bigint); INSERT INTO numbers VALUES (1), (2);"


def test_nobody_is_held_up_while_no_name_is_resolved(make_weir, postgres, mute_resolver):
    database = postgres.database()
    away = {
        "REDIS_URL": "redis://redis.invalid:6379",
        "KAFKA_BROKERS": "kafka.invalid:9092",
        "DB_WRITE_URL": "postgres://weir:x@primary.invalid:5432/weir",
        "DB_READ_URL": database.settings["DB_READ_URL"],
    }
    weir = make_weir(HANDLERS, away, SCHEMA, database=database, start=False)
    weir.serve_prefix = mute_resolver
    begun = time.monotonic()
    weir.start()
    for _ in range(2):
        assert weir.get("/t/numbers").json() == [{"n": 1}, {"n": 2}]
    assert [weir.get("/t/limited", client="192.0.2.1").status for _ in range(4)] == [200] * 3 + [429]
    for n in range(20):
        assert weir.post("/t/numbers", {"n": n}, f"k{n}").status == 202
    assert weir.post("/t/numbers", {"n": 0}, "k0").header("Idempotent-Replayed") == "true"
    assert weir.status()["spool"]["waiting"] == 20
    assert time.monotonic() - begun < 20, "a name alone takes more"
    assert processes.stop(weir.serve), "it ends by itself"
    ended = [line for line in weir.log_lines() if line["event"] == "child_ended"]
    assert len(ended) == 3 and all(line.get("code") == 0 for line in ended), ended
