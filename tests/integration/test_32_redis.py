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
