"""Goal: `make stack` serves from real servers, says how to reach them, and leaves nothing behind, however it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

import kafka
import processes
import weir as house

STACK = os.path.join(house.ROOT, "tests", "support", "stack.py")


def settings_of(state):
    with open(os.path.join(state, "stack.env")) as f:
        return dict(line.rstrip("\n").split("=", 1) for line in f)


def started(binary, state, port, **env):
    argv = [sys.executable, "-B", STACK, "--binary", binary, "--port", str(port), "--state", state]
    return processes.start(argv, env=house.clean_environment(**env), cwd=house.ROOT, log=os.path.join(state, "out"))


def said(state):
    with open(os.path.join(state, "out")) as f:
        return f.read()


def check_nothing_is_left(state, children):
    assert [pid for pid in children if not processes.ends_within(pid, 10)] == []
    assert not os.path.exists(os.path.join(state, "stack.env"))
    assert not os.path.exists(os.path.join(state, "stack", "weir", "segment"))
    assert os.stat(state).st_mode & 0o777 == 0o700


@pytest.fixture
def stack(request, binary, new_state):
    port = processes.free_port()
    process = started(binary, new_state, port, **getattr(request, "param", {}))
    try:
        processes.wait_until(lambda: "Ctrl-C stops" in said(new_state), "the stack", 300, [process])
        yield process, new_state, port
    finally:
        processes.stop(process, signal.SIGINT, 60)


def command(binary, state, *args):
    argv = [binary, *args, "--env-file", os.path.join(state, "stack.env")]
    done = subprocess.run(argv, env=house.clean_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return done.stdout


def get(port, target):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{target}", timeout=30) as reply:
        return reply.read()


def breakers(binary, state):
    return {b["name"]: b["state"] for b in json.loads(command(binary, state, "breaker", "list", "--json"))}


def test_it_serves_says_its_settings_and_ends_with_all_it_has_started(stack, binary):
    process, state, port = stack
    assert json.loads(get(port, "/api/v1/countries/PT"))["name"] == "Portugal"
    assert {"REDIS_URL", "KAFKA_BROKERS", "DB_READ_URL", "DB_WRITE_URL", "WEIR_STATE_DIR"} <= set(settings_of(state))
    assert settings_of(state)["REDIS_URL"].count("redis://") == 2
    psql = ["psql", "-X", "-A", "-t", "-d", settings_of(state)["DB_READ_URL"], "-c", "SELECT pg_is_in_recovery()"]
    assert subprocess.run(psql, capture_output=True, text=True, timeout=30).stdout == "t\n"

    assert breakers(binary, state)["redis-1"] == "closed"
    command(binary, state, "breaker", "open", "redis-1")
    assert breakers(binary, state)["redis-1"] == "forced-open"
    assert json.loads(get(port, "/api/v1/countries/ES"))["name"] == "Spain"
    command(binary, state, "breaker", "close", "redis-1")
    assert "forced-closed" in command(binary, state, "breaker", "list")
    command(binary, state, "breaker", "auto", "redis-1")
    assert breakers(binary, state)["redis-1"] == "closed"

    children = processes.children_of(process.pid)
    assert len(children) >= 8  # two Redis, Kafka, two PostgreSQL, PgBouncer, weir, nginx
    assert processes.stop(process, signal.SIGINT, 60)
    assert process.returncode == 0, said(state)
    check_nothing_is_left(state, children)


def as_printed(heading):
    """The commands under a heading of the README."""
    with open(os.path.join(house.ROOT, "README.md")) as f:
        return f.read().split(f"### {heading}\n")[1].split("```sh\n")[1].split("```")[0]


@pytest.mark.parametrize("stack", [{"RATE_LIMIT_POINTS": 100}], indirect=True)
def test_the_readmes_tour_shows_what_it_says(stack):
    process, state, port = stack
    tour = as_printed("What to see there").replace("localhost:8080", f"localhost:{port}").replace("var/", f"{state}/")
    done = subprocess.run(["bash", "-ec", tour], env=house.clean_environment(), capture_output=True, text=True, timeout=120)
    seen = done.stdout
    assert done.returncode == 0, done

    requests, seconds = re.search(r"(\d+) requests in ([\d.]+)s", seen).groups()
    refused = int(re.search(r"Non-2xx or 3xx responses: (\d+)", seen)[1])
    admitted = int(requests) - refused
    assert 100 * float(seconds) * 0.9 <= admitted <= 200 + 100 * (float(seconds) + 1)
    assert "weir:copy:country:" in seen and '"name":"France"' in seen
    assert "202 Accepted" in seen
    assert re.search(r"quick-1 +\| quick", seen)
    batches = [json.loads(line) for line in seen.splitlines() if '"event":"batch"' in line]
    assert sum(batch["applied"] for batch in batches) == 1


def test_a_part_that_does_not_start_stops_those_that_have(new_state):
    process = started("/bin/false", new_state, processes.free_port())
    processes.wait_until(lambda: len(processes.children_of(process.pid)) >= 3, "the first servers", 120, [process])
    children = processes.children_of(process.pid)
    assert process.wait(300) == 1
    assert "/false', 'migrate']' returned non-zero" in said(new_state)
    check_nothing_is_left(new_state, children)


@pytest.mark.parametrize("times", [1, 3])
def test_told_to_end_in_the_middle_it_ends_what_it_has_started(binary, new_state, times):
    """Who presses Ctrl-C again while it ends saw a traceback, and servers that ended by their parent's death alone."""
    process = started(binary, new_state, processes.free_port())
    processes.wait_until(lambda: len(processes.children_of(process.pid)) >= 3, "the first servers", 120, [process])
    children = processes.children_of(process.pid)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    assert processes.stop(process, signal.SIGINT, 60)
    assert process.returncode == 0, said(new_state)
    assert "Traceback" not in said(new_state)
    check_nothing_is_left(new_state, children)


def test_without_maven_central_it_says_what_is_missing(monkeypatch, tmp_path, capfd):
    (tmp_path / "mvn").write_text("#!/bin/sh\necho '[ERROR] repo.example: no such host'\nexit 1\n")
    (tmp_path / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(kafka, "CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="(?s)Maven Central.*repo.example: no such host"):
            kafka.jars()
    assert "fetching" in capfd.readouterr().err
