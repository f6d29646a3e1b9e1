"""Goal: of what is slow one line says on what the time was spent and how the database ran it, and nothing that a client sent."""

import json
import os
import signal

import processes

SECRET = "hush-4711"

# About a third of a second, and with a condition on a parameter.
SLOW_SQLITE = """WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1500000)
SELECT count(*) AS n, (SELECT text FROM notes WHERE id = :id) AS text FROM c;
"""

HANDLERS = {
    "slow.sql": "-- GET /t/slow/:id\n-- param id: text\n-- param page: integer, optional\n-- timeout: 30s\n" + SLOW_SQLITE.replace("AS text FROM c", "AS text, :page AS page FROM c"),
    "again.sql": f"-- GET /t/again/:id\n-- param id: text\n-- timeout: 30s\n{SLOW_SQLITE}",
    "quick.sql": "-- GET /t/quick/:id\n-- param id: text\nSELECT text FROM notes WHERE id = :id;\n",
    "fails.sql": "-- GET /t/fails/:id\n-- param id: text\n-- timeout: 300ms\n" + SLOW_SQLITE.replace("1500000", "1500000000"),
}

SLEEPS = {
    "sleeps.sql": "-- GET /t/sleeps/:id\n-- param id: text\n-- param n: integer\n"
    "SELECT text, CAST(pg_sleep(0.3) AS text) AS nothing FROM notes WHERE id = :id AND number = :n;\n"
}

SCHEMA = f"CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT, number INTEGER); INSERT INTO notes VALUES ('{SECRET}', 'x', 991177);"


def slow_lines(weir, path=None):
    if path is None:
        return [line for line in weir.log_lines() if line.get("event") == "slow_request"]
    with open(path) as f:
        return [json.loads(line) for line in f]


def wait_lines(weir, count=1, path=None):
    processes.wait_until(lambda: len(slow_lines(weir, path)) >= count, f"{count} lines in the slow log")
    return slow_lines(weir, path)


def test_a_slow_read_is_one_line_with_its_spans_and_its_plan_and_no_value(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_SLOW": "50ms"}, SCHEMA)
    assert weir.get(f"/t/slow/{SECRET}?page=7&undeclared={SECRET}").status == 200
    (line,) = wait_lines(weir)
    assert (line["endpoint"], line["method"], line["route"], line["status"]) == ("slow", "GET", "/t/slow/:id", 200)
    assert line["us"] >= 50000 and line["source"] == "database" and line["level"] == "warn"
    assert line["params"] == f"id:text({len(SECRET)}) page:integer(1)"
    assert "handle " in line["spans"] and "ms" in line["spans"] and "> " in line["spans"]
    assert "SEARCH notes USING INDEX" in line["plan"] and "id=?" in line["plan"]
    assert SECRET not in json.dumps(line)
    request = next(r for r in weir.log_lines() if r.get("event") == "request" and r["endpoint"] == "slow")
    assert (line["trace_id"], line["request_id"]) == (request["trace_id"], request["request_id"])


def test_what_is_quick_is_not_said_and_plans_are_rare(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_SLOW": "50ms", "WEIR_WORKERS": "2"}, SCHEMA)
    for _ in range(3):
        assert weir.get("/t/slow/a").status == 200
    assert weir.get("/t/again/a").status == 200
    assert weir.get("/t/quick/a").status == 200
    lines = wait_lines(weir, 4)
    assert [line["endpoint"] for line in lines].count("slow") == 3 and len(lines) == 4
    assert sum(line["plan"] is not None for line in lines if line["endpoint"] == "slow") == 1


def test_a_read_that_missed_its_time_is_said_too(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_SLOW": "100ms"}, SCHEMA)
    assert weir.get(f"/t/fails/{SECRET}").status == 504
    (line,) = wait_lines(weir)
    assert line["status"] == 504 and line["plan"] is not None and SECRET not in json.dumps(line)


def test_0_is_off(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_SLOW": "0"}, SCHEMA)
    assert weir.get("/t/slow/a").status == 200
    assert weir.get("/t/quick/a").status == 200
    assert slow_lines(weir) == []


def test_it_may_have_a_file_of_its_own_that_usr1_reopens(make_weir, new_state):
    path = os.path.join(new_state, "slow.log")
    weir = make_weir(HANDLERS, {"WEIR_SLOW": "50ms", "WEIR_SLOW_LOG": path}, SCHEMA)
    assert weir.get("/t/slow/a").status == 200
    wait_lines(weir, 1, path)
    assert slow_lines(weir) == []
    os.rename(path, path + ".1")
    weir.serve.send_signal(signal.SIGUSR1)
    processes.wait_until(lambda: os.path.exists(path), "the new file")
    assert weir.get("/t/again/a").status == 200
    wait_lines(weir, 1, path)
    assert len(slow_lines(weir, path + ".1")) == 1


def test_a_file_that_cannot_be_opened_is_said(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_SLOW_LOG": "/nowhere/slow.log"}, SCHEMA, start=False)
    said = weir.command("serve")
    assert said.returncode == 78 and "WEIR_SLOW_LOG" in said.stderr and "/nowhere/slow.log" in said.stderr


def test_a_plan_of_postgresql_shows_no_value(make_weir, postgres):
    weir = make_weir(SLEEPS, {"WEIR_SLOW": "100ms"}, SCHEMA, database=postgres.database())
    assert weir.get(f"/t/sleeps/{SECRET}?n=991177").json() == [{"text": "x", "nothing": ""}]
    (line,) = wait_lines(weir)
    plan = json.loads(line["plan"])
    assert plan[0]["Plan"]["Node Type"] and plan[0]["Plan"]["Total Cost"] > 0
    assert "'?'" in line["plan"] or "$1" in line["plan"]
    assert "SELECT notes" in line["spans"]
    assert line["params"] == f"id:text({len(SECRET)}) n:integer(6)"
    assert SECRET not in json.dumps(line) and "991177" not in json.dumps(line)
