"""Goal: limits are one bucket over all hosts that share a Redis, and no fault of Redis is waited for twice."""

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
