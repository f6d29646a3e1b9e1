"""Goal: limits are one bucket over all hosts that share a Redis, and no fault of Redis is waited for twice."""

import json
import os
import signal
import time

import pytest

import processes
import redis_server
import weir as house

GOOD = {"one.sql": "-- GET /t/one\nSELECT 1 AS one;\n"}


def test_check_connect_pings_every_shard(make_weir, make_redis):
    tcp, unix = make_redis(password="s3cret"), make_redis(unix=True)
    weir = make_weir(GOOD, {"REDIS_URL": f"{tcp.url},{unix.url}", "REDIS_TIMEOUT": "2s"}, front=False)
    run = weir.command("check", "--connect")
    assert run.returncode == 0, run
    unix.stop()
    run = weir.command("check", "--connect")
    assert run.returncode == 78 and f"{unix.url} does not answer" in run.stdout
    assert "127.0.0.1" not in run.stdout, "the other one answers"
    assert weir.command("check").returncode == 0, "without --connect nothing is asked"
    run = weir.command("check", "--connect", env={"REDIS_URL": f"redis://:wr0ng@127.0.0.1:{tcp.port}"})
    assert run.returncode == 78 and "does not answer" in run.stdout
    assert "wr0ng" not in run.stdout + run.stderr

READ = "SELECT 1 AS one;\n"

LIMITS = {
    "twenty.sql": "-- GET /t/twenty\n-- limit: 20/h\n" + READ,
    "window.sql": "-- GET /t/window\n-- limit: 20/h sliding-window\n" + READ,
    "large.sql": "-- GET /t/large\n-- limit: 3000/d\n" + READ,
    "large_window.sql": "-- GET /t/large-window\n-- limit: 3000/d sliding-window\n" + READ,
    "hot.sql": "-- GET /t/hot\n-- limit: 20000/s\n" + READ,
    "two.sql": "-- GET /t/two\n-- limit small: 3/h\n-- limit large: 10/h by ip\n" + READ,
    "observed.sql": "-- GET /t/observed\n-- limit watch: 2/h observe\n" + READ,
    "fast.sql": "-- GET /t/fast\n-- limit: 10/s burst 2\n" + READ,
    "free.sql": "-- GET /t/free\n-- limit: 1000000/s\n" + READ,
}

# Under a machine that is busy with other tests 20 ms are soon over; a test that stalls Redis says how long it waits.
FLEET = {"REDIS_TIMEOUT": "2s", "CIRCUIT_BREAKER_RESET_TIMEOUT": "300ms"}


@pytest.fixture
def fleet(make_weir, make_redis):
    """Hosts that share one Redis, each with a state folder and a segment of its own, and no front server."""

    def make(count=2, redis=None, **env):
        redis = redis or make_redis(unix=True)
        settings = {"REDIS_URL": redis.url, **FLEET, **env}
        return redis, [make_weir(LIMITS, settings, front=False) for _ in range(count)]

    return make


def ask(weir, target, client="192.0.2.1", count=1, timeout=20):
    """Statuses of requests on one kept connection."""
    with weir.connect(timeout) as connection:
        return [connection.request("GET", target, address=client).status for _ in range(count)]


def one(weir, target, client="192.0.2.1", **how):
    return weir.fcgi("GET", target, REMOTE_ADDR=client, **how)


def explain(weir, endpoint, client="192.0.2.1", *options):
    run = weir.command("limit", "explain", endpoint, client, "--json", *options)
    assert run.returncode == 0, run
    return json.loads(run.stdout)


def wait_hosts(weirs, count):
    """Until every host has counted all of them; a heartbeat is sent each two seconds."""
    for weir in weirs:
        processes.wait_until(lambda: explain(weir, "twenty")[0]["hosts"] == count, f"{count} hosts")


def wait_log(weir, event, meanwhile=lambda: None):
    """A Redis that refuses is not suspended by one call: its breaker opens when half of the calls fail."""
    processes.wait_until(lambda: meanwhile() or weir.events(event), event)


def shared(redis, work):
    """What `work` returns, and how many buckets Redis was asked for meanwhile."""
    before = redis.calls("get") + redis.calls("hmget")
    result = work()
    return result, redis.calls("get") + redis.calls("hmget") - before


# ---- Everything is well -------------------------------------------------------


@pytest.mark.parametrize("target", ["/t/twenty", "/t/window"])
def test_a_small_limit_is_exact_over_all_hosts(fleet, target):
    _, (a, b) = fleet()
    statuses = [one(weir, target).status for _ in range(15) for weir in (a, b)]
    assert statuses == [200] * 20 + [429] * 10
    assert ask(b, target, "192.0.2.2") == [200], "another client has its own"


@pytest.mark.parametrize("target", ["/t/large", "/t/large-window"])
def test_leases_never_admit_more_and_hardly_less(fleet, target):
    redis, weirs = fleet()
    work = lambda: house.all_at_once(8, lambda i: ask(weirs[i % 2], target, count=600))  # noqa: E731
    replies, calls = shared(redis, work)
    admitted = sum(status == 200 for some in replies for status in some)
    assert admitted <= 3001, "one token comes back in half a minute"
    assert admitted >= 3000 - 2 * 30, "at most the leases of both hosts lie unused"
    assert calls < 3000 / 5, "leases grow with the rate"


def test_a_hot_key_costs_hardly_any_calls(fleet):
    redis, (weir,) = fleet(1)
    ask(weir, "/t/hot", count=300)
    statuses, calls = shared(redis, lambda: house.all_at_once(4, lambda i: ask(weir, "/t/hot", count=1000)))
    assert all(status == 200 for some in statuses for status in some)
    assert calls <= 4000 * 0.02


def test_a_flood_of_refused_requests_costs_redis_nothing(fleet):
    redis, (weir,) = fleet(1)
    ask(weir, "/t/twenty", count=21)
    statuses, calls = shared(redis, lambda: ask(weir, "/t/twenty", count=400))
    assert set(statuses) == {429} and calls == 0


def test_headers_tell_what_the_fleet_has_left(fleet):
    _, (a, b) = fleet()
    assert one(a, "/t/twenty").header("X-RateLimit-Remaining") == "19"
    assert one(b, "/t/twenty").header("X-RateLimit-Remaining") == "18"
    ask(a, "/t/twenty", count=18)
    reply = one(b, "/t/twenty")
    assert reply.status == 429 and reply.header("X-RateLimit-Remaining") == "0"
    assert 1 <= int(reply.header("Retry-After")) <= 180


def test_a_refusal_by_one_limit_costs_the_others_nothing(fleet):
    _, (weir,) = fleet(1)
    assert ask(weir, "/t/two", count=8) == [200] * 3 + [429] * 5
    left = {rule["name"]: rule["remaining"] for rule in explain(weir, "two")}
    assert left == {"small": 0, "large": 7}


def test_an_observed_limit_refuses_nobody_and_is_counted(fleet):
    _, (a, b) = fleet()
    assert ask(a, "/t/observed", count=2) + ask(b, "/t/observed", count=2) == [200] * 4
    assert tuple(w.counter("limit_decisions", result="observed") for w in (a, b)) == (0, 2)


def test_tokens_come_back_with_time(fleet):
    _, (a, b) = fleet()
    while one(a, "/t/fast").status == 200:
        pass
    processes.wait_until(lambda: one(b, "/t/fast").status == 200, "a token")


def test_unused_tokens_of_a_bucket_are_given_back(fleet):
    _, (a, b) = fleet()
    ask(a, "/t/large", count=200)
    processes.wait_until(lambda: explain(b, "large")[0]["redis"]["remaining"] >= 2800, "the rest of the lease")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
def test_what_a_host_that_stops_has_not_used_is_given_back(fleet, how):
    """Its leases ended with it, so a restart of many hosts took from clients what nobody had used."""
    _, (a, b) = fleet()
    for second in range(2, 12):
        ask(a, "/t/large", f"192.0.2.{second}", count=20)
    a.serve.send_signal(how)
    processes.wait_until(lambda: a.serve.poll() is not None, "the end")
    left = [explain(b, "large", f"192.0.2.{second}")[0]["redis"]["remaining"] for second in range(2, 12)]
    assert all(2980 <= remaining <= 2981 for remaining in left), "one token comes back in half a minute"


def test_what_a_worker_that_leaves_has_not_used_is_given_back(fleet):
    _, (a, b) = fleet(WEIR_WORKERS="2")
    ask(a, "/t/large", count=200)
    before = a.workers()
    for pid in before:
        os.kill(pid, signal.SIGTERM)
    assert all(processes.ends_within(pid, 20) for pid in before)
    assert explain(b, "large")[0]["redis"]["remaining"] >= 2800


def test_a_redis_that_stalls_does_not_keep_a_host_from_stopping(fleet):
    redis, (a,) = fleet(1)
    ask(a, "/t/large", count=200)
    redis.suspend()
    try:
        a.stop()
    finally:
        redis.resume()


def test_a_worker_killed_with_a_lease_adds_no_token(fleet):
    _, (a, b) = fleet()

    def work(i):
        if i == 0:
            for _ in range(5):
                time.sleep(0.1)
                os.kill(a.workers()[0], signal.SIGKILL)
            return 0
        admitted = 0
        for _ in range(60):
            try:
                admitted += ask((a, b)[i % 2], "/t/large", count=12).count(200)
            except (OSError, house.fcgi.Closed):
                pass  # its worker was the one that was killed
        return admitted

    assert sum(house.all_at_once(7, work)) <= 3001


def test_explain_tells_what_applies_and_how_exact_it_is(fleet):
    _, (weir, other) = fleet()
    wait_hosts((weir, other), 2)
    ask(weir, "/t/twenty", count=5)
    (rule,) = explain(weir, "twenty")
    assert (rule["quota"], rule["burst"], rule["remaining"], rule["error"]) == (20, 20, 15, 0)
    assert rule["ip"] == "192.0.2.1" and rule["redis"]["answers"] and rule["hosts"] == 2
    assert explain(weir, "hot")[0]["error"] == 2 * 200
    assert explain(weir, "twenty", "acme")[0]["tenant"] == "acme"
    text = weir.command("limit", "explain", "hot", "192.0.2.1")
    assert text.returncode == 0 and "never more than burst + rate x time" in text.stdout
    assert weir.command("limit", "explain", "nothing", "acme").returncode == 1


# ---- Redis is not well --------------------------------------------------------


def test_a_flushed_script_cache_is_not_noticed(fleet):
    redis, (weir,) = fleet(1)
    assert ask(weir, "/t/twenty", count=10) == [200] * 10
    redis.call("SCRIPT", "FLUSH")
    assert ask(weir, "/t/twenty", count=12) == [200] * 10 + [429] * 2


@pytest.mark.parametrize("target", ["/t/twenty", "/t/window"])
def test_without_redis_each_host_has_its_share(fleet, target):
    redis, weirs = fleet()
    wait_hosts(weirs, 2)
    redis.stop()
    for weir in weirs:
        assert ask(weir, target, "192.0.2.9", count=15) == [200] * 10 + [429] * 5
        wait_log(weir, "limits_without_redis", lambda: ask(weir, "/t/free") != [200])
        assert explain(weir, "twenty", "192.0.2.9")[0]["redis"]["answers"] is False


def test_without_redis_limits_may_be_open(fleet):
    redis, (weir,) = fleet(1, RATE_LIMIT_ON_REDIS_FAILURE="open")
    redis.stop()
    assert ask(weir, "/t/twenty", count=40) == [200] * 40


def test_without_redis_limits_may_be_closed(fleet):
    redis, (weir,) = fleet(1, RATE_LIMIT_ON_REDIS_FAILURE="closed")
    assert ask(weir, "/t/twenty") == [200]
    redis.stop()
    replies = [one(weir, "/t/twenty") for _ in range(3)]
    assert [reply.status for reply in replies] == [503] * 3
    assert all(reply.header("Retry-After") for reply in replies)


def test_a_redis_that_comes_back_empty_is_used_again(fleet):
    redis, (a, b) = fleet()
    assert ask(a, "/t/twenty", count=20) == [200] * 20
    redis.restart()
    processes.wait_until(lambda: ask(b, "/t/free") == [200] and redis.keys("weir:limit:*"), "limits in Redis")
    assert sum(one(weir, "/t/window", "192.0.2.7").status == 200 for _ in range(15) for weir in (a, b)) == 20


def evict(redis, key):
    """Others write until `key` has made room for them."""
    for i in range(100000):
        redis.call("SET", f"theirs:{i}", "x" * 20000)
        if not redis.call("EXISTS", key):
            return
    raise AssertionError(f"{key} is still there")


@pytest.mark.parametrize("target", ["/t/twenty", "/t/window"])
def test_a_bucket_that_redis_evicts_is_a_full_one_and_nothing_worse(fleet, make_redis, target):
    redis = make_redis(unix=True, options=["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"])
    redis, (a, b) = fleet(redis=redis)
    assert ask(a, target, count=25) == [200] * 20 + [429] * 5
    (key,) = redis.keys("weir:limit:*")
    evict(redis, key)
    assert ask(a, target, count=5) == [429] * 5, "this host knows when it may ask again"
    assert ask(b, target, count=25) == [200] * 20 + [429] * 5, "one bucket more, and it counts again"
    for weir in (a, b):
        assert not [line for line in weir.log_lines() if line["event"] == "limits_without_redis"]


@pytest.mark.parametrize("target", ["/t/twenty", "/t/window"])
def test_a_redis_without_memory_is_one_that_does_not_answer(fleet, target):
    redis, weirs = fleet()
    wait_hosts(weirs, 2)
    redis.call("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1mb")
    for weir in weirs:
        assert ask(weir, target, "192.0.2.9", count=15) == [200] * 10 + [429] * 5
    redis.call("CONFIG", "SET", "maxmemory", "0")
    for weir in weirs:
        processes.wait_until(lambda: explain(weir, "free")[0]["redis"]["answers"], "the end of its breaker")
    statuses = [one(weir, target, "192.0.2.10").status for _ in range(15) for weir in weirs]
    assert statuses == [200] * 20 + [429] * 10, "it is one bucket again"


def test_a_stalled_redis_is_waited_for_once(fleet):
    redis, (weir,) = fleet(1, REDIS_TIMEOUT="1s")
    assert ask(weir, "/t/twenty") == [200]
    redis.suspend()
    begun = time.monotonic()
    assert [one(weir, "/t/free", f"198.51.100.{i}").status for i in range(200)] == [200] * 200
    assert time.monotonic() - begun < 30, "each that waited would have cost a second"
    wait_log(weir, "limits_without_redis")
    redis.resume()
    wait_log(weir, "limits_by_redis_again")
    assert shared(redis, lambda: ask(weir, "/t/twenty", "192.0.2.8"))[1] == 1


def test_a_redis_that_trickles_is_one_that_stalls(make_redis, make_weir, new_state):
    redis = make_redis(unix=True)
    trickle = redis_server.Trickle(os.path.join(new_state, "trickle.sock"), redis.address)
    try:
        weir = make_weir(LIMITS, {"REDIS_URL": "unix:" + trickle.path, **FLEET, "REDIS_TIMEOUT": "1s"}, front=False)
        assert ask(weir, "/t/twenty") == [200]
        trickle.slow = True
        begun = time.monotonic()
        assert [one(weir, "/t/free", f"198.51.100.{i}").status for i in range(200)] == [200] * 200
        assert time.monotonic() - begun < 30
        wait_log(weir, "limits_without_redis")
        trickle.slow = False
        wait_log(weir, "limits_by_redis_again")
    finally:
        trickle.close()


def test_one_shard_that_is_gone_concerns_only_its_own_clients(fleet, make_redis, make_weir):
    first, second = make_redis(unix=True), make_redis(unix=True)
    _, weirs = fleet(redis=None, REDIS_URL=f"{first.url},{second.url}")
    clients = [f"203.0.113.{i}" for i in range(1, 33)]
    for client in clients:
        ask(weirs[0], "/t/window", client)
    at_first = [c for c in clients if any(key.endswith(":" + c) for key in first.keys("weir:limit:*"))]
    at_second = [c for c in clients if any(key.endswith(":" + c) for key in second.keys("weir:limit:*"))]
    assert at_first and at_second and sorted(at_first + at_second) == sorted(clients)
    wait_hosts(weirs, 2)
    second.kill()
    both = [one(weir, "/t/twenty", at_first[0]).status for _ in range(15) for weir in weirs]
    assert both == [200] * 20 + [429] * 10, "the shard that is left is still one bucket"
    for weir in weirs:
        assert ask(weir, "/t/twenty", at_second[0], count=15) == [200] * 10 + [429] * 5
