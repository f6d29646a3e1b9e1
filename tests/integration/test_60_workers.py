"""Goal: nobody's slowness or death is anybody else's, and signals do what they do in nginx and php-fpm."""

import grp
import json
import os
import signal
import socket
import time

import pytest

import fcgi
import processes
import weir as house

SCHEMA = "CREATE TABLE jots (id TEXT, text TEXT);"

HANDLERS = {
    "one.sql": "-- GET /t/one\nSELECT 1 AS one;\n",
    "slow.sql": """-- GET /t/slow
-- timeout: 30s
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000) SELECT count(*) AS n FROM c;
""",
    "endless.sql": """-- GET /t/endless
-- timeout: 300ms
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS n FROM c;
""",
    "jot.sql": """-- POST /t/jots
-- body text: text
-- max-body: 2m
INSERT INTO jots (id, text) VALUES (:idempotency_key, :text);
""",
}


def params(target="/t/one", **extra):
    return fcgi.params_for("GET", target, **extra)


def lone(make_weir, **env):
    """One worker with two threads: whoever blocks it blocks all."""
    return make_weir(HANDLERS, {"WEIR_WORKERS": 1, "WEIR_THREADS": 2, "WEIR_MAX_BODY": "2m", **env}, SCHEMA)


# ---- Slow and silent clients -------------------------------------------------


def test_more_idle_kept_connections_than_threads_and_workers_stop_nobody(make_weir):
    weir = lone(make_weir)
    idle = [weir.connect() for _ in range(200)]
    for connection in idle:
        assert connection.request("GET", "/t/one", keep=True).status == 200
    assert weir.fcgi("GET", "/t/one", timeout=10).status == 200
    assert weir.get("/t/one").status == 200
    for connection in idle:  # and they are still good
        assert connection.request("GET", "/t/one", keep=True).status == 200
        connection.close()


def slow_clients():
    whole = fcgi.records(params())
    begin = fcgi.record(fcgi.BEGIN, b"\0\1\0\0\0\0\0\0")
    body = json.dumps({"text": "x" * (1 << 20)}).encode()
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", "slow")]
    large = fcgi.records(fcgi.params_for("POST", "/t/jots", headers, body), body)
    return {
        "nothing": b"",
        "half a header": whole[:4],
        "a header": whole[:8],
        "half the parameters": whole[: len(whole) // 2],
        "all but the last byte": whole[:-1],
        "garbage": b"\xff" * 100,
        "a promise of 64 KiB": begin + b"\x01\x04\x00\x01\xff\xff\x00\x00" + b"x" * 60000,
        "half of a large body": large[: len(large) // 2],
        "a large body but its end": large[:-8],
    }


@pytest.mark.parametrize("data", slow_clients().values(), ids=slow_clients().keys())
def test_a_connection_that_stops_in_the_middle_delays_nobody(make_weir, data):
    weir = lone(make_weir)
    stuck = [weir.connect() for _ in range(8)]
    for connection in stuck:
        try:
            connection.send_what_fits(data)
        except ConnectionError:
            pass  # closed already, which is fine
    for _ in range(20):
        assert weir.fcgi("GET", "/t/one", timeout=10).status == 200
    post = weir.fcgi_post("/t/jots", {"text": "small"}, "small", timeout=10)
    assert post.status == 202
    for connection in stuck:
        connection.close()
    assert weir.fcgi("GET", "/t/one", timeout=10).status == 200


def test_one_byte_at_a_time_is_answered_in_the_end_and_delays_nobody(make_weir):
    weir = lone(make_weir)
    data = fcgi.records(params())
    with weir.connect() as slow:
        for at in range(50):  # the kernel holds some 70 such pieces for a reader that only peeks
            slow.send(data[at : at + 1])
            if at % 5 == 0:
                assert weir.fcgi("GET", "/t/one", timeout=10).status == 200
        slow.send(data[50:])
        assert slow.read_answer().status == 200


def test_a_large_body_in_small_pieces_is_read_whole_beside_others(make_weir):
    weir = lone(make_weir)
    body = json.dumps({"text": "x" * (1 << 20)}).encode()
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", "pieces")]
    data = fcgi.records(fcgi.params_for("POST", "/t/jots", headers, body), body)
    with weir.connect() as slow:
        for at in range(0, len(data), 50000):
            slow.send(data[at : at + 50000])
            assert weir.fcgi("GET", "/t/one", timeout=10).status == 200
        assert slow.read_answer().status == 202
    processes.wait_until(lambda: weir.rows("SELECT length(text) FROM jots") == [(1 << 20,)], "its application")


def test_requests_that_follow_without_waiting_are_answered_or_the_connection_is_closed(make_weir):
    """No front server sends the next request before it has the answer."""
    weir = lone(make_weir)
    with weir.connect() as connection:
        connection.send(fcgi.records(params(), keep=True) * 5)
        assert connection.read_answer().status == 200
        try:
            assert [connection.read_answer().status for _ in range(4)] == [200] * 4
        except fcgi.Closed:
            pass
    assert weir.fcgi("GET", "/t/one", timeout=10).status == 200


def test_a_client_that_never_reads_a_large_answer_delays_nobody(make_weir):
    weir = make_weir(
        {**HANDLERS, "large.sql": "-- GET /t/large\n-- returns: one\nSELECT hex(zeroblob(3000000)) AS filler;\n"},
        {"WEIR_WORKERS": 1, "WEIR_THREADS": 4},
        SCHEMA,
    )
    deaf = [weir.connect() for _ in range(2)]
    for connection in deaf:
        connection.send(fcgi.records(params("/t/large")))
    for _ in range(20):
        assert weir.fcgi("GET", "/t/one", timeout=10).status == 200
    for connection in deaf:
        connection.close()
    assert len(weir.fcgi("GET", "/t/large").body) > 6000000


def test_a_client_that_leaves_before_its_answer_costs_nothing(make_weir):
    weir = lone(make_weir)
    for _ in range(50):
        with weir.connect() as connection:
            connection.send(fcgi.records(params()))
    workers = weir.workers()
    assert weir.fcgi("GET", "/t/one", timeout=20).status == 200
    assert weir.workers() == workers


def test_slow_queries_keep_nobody_from_what_needs_no_thread(make_weir):
    weir = lone(make_weir)
    busy = [weir.connect(timeout=60) for _ in range(6)]
    for connection in busy:
        connection.send(fcgi.records(params("/t/slow")))
    assert weir.fcgi("GET", "/api/v1/health", timeout=10).status == 200
    assert weir.admin("/live").status == 200
    for connection in busy:
        assert connection.read_answer().status in (200, 503)
        connection.close()


def test_a_statement_over_its_timeout_is_504_and_ends(make_weir):
    weir = lone(make_weir)
    for _ in range(4):  # more than there are threads
        reply = weir.get("/t/endless")
        assert reply.status in (503, 504)
        assert int(reply.header("Retry-After")) >= 1
    assert weir.get("/t/one").status == 200


# ---- Death and signals -------------------------------------------------------


def test_a_killed_worker_is_replaced_at_once(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    for _ in range(5):
        before = set(weir.workers())
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        processes.wait_until(
            lambda: len(weir.workers()) == 2 and victim not in weir.workers(), "the new worker", timeout=10
        )
        assert [weir.get("/t/one").status for _ in range(20)] == [200] * 20


def test_kept_connections_of_nginx_outlive_the_death_of_workers(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    house.all_at_once(16, lambda i: [weir.get("/t/one").status for _ in range(5)])
    for pid in weir.workers():
        os.kill(pid, signal.SIGKILL)
    replies = house.all_at_once(16, lambda i: [weir.get("/t/one").status for _ in range(10)])
    assert {status for some in replies for status in some} == {200}


def test_a_stopped_worker_does_not_stop_the_others_for_good(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    victim = weir.workers()[0]
    os.kill(victim, signal.SIGSTOP)
    try:
        processes.wait_until(lambda: victim not in weir.workers(), "the supervisor to kill it", timeout=40)
    finally:
        if processes.is_alive(victim):
            os.kill(victim, signal.SIGCONT)
    processes.wait_until(lambda: len(weir.workers()) == 2, "the new worker")
    assert [weir.get("/t/one").status for _ in range(20)] == [200] * 20


def test_workers_end_when_their_supervisor_is_killed(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    members = weir.members()
    weir.serve.kill()
    weir.serve.wait()
    assert [pid for pid in members if not processes.ends_within(pid, 10)] == []
    weir.start_serve()  # and the next one finds nothing in its way
    weir.wait_healthy()
    assert weir.get("/t/one").status == 200


def test_a_worker_that_cannot_start_does_not_burn_the_machine(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    os.rename(weir.env["WEIR_HANDLERS"], weir.folder + "/moved")
    for pid in weir.workers():
        os.kill(pid, signal.SIGKILL)
    time.sleep(3)
    starts = [line for line in weir.log_lines() if "spawn" in line["event"] or "start" in line["event"]]
    assert len(starts) < 40
    os.rename(weir.folder + "/moved", weir.env["WEIR_HANDLERS"])
    processes.wait_until(lambda: weir.get("/t/one").status == 200, "recovery", timeout=60)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_fast_stop_finishes_what_is_in_hand(make_weir, sig):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    with weir.connect(timeout=60) as connection:
        connection.send(fcgi.records(params("/t/slow")))
        time.sleep(0.2)
        weir.serve.send_signal(sig)
        assert connection.read_answer().status == 200
    assert weir.serve.wait(timeout=30) == 0


def test_a_graceful_stop_accepts_nothing_new_and_serves_who_is_connected(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_DRAIN": "3s"}, SCHEMA)
    with weir.connect(timeout=60) as slow, weir.connect() as kept:
        assert kept.request("GET", "/t/one", keep=True).status == 200
        slow.send(fcgi.records(params("/t/slow")))
        time.sleep(0.2)
        weir.serve.send_signal(signal.SIGQUIT)
        assert slow.read_answer().status == 200
    assert weir.serve.wait(timeout=40) == 0


def test_usr1_reopens_the_log(make_weir, tmp_path):
    log = tmp_path / "weir.log"
    weir = make_weir(HANDLERS, {"LOG_FILE": str(log)}, SCHEMA)
    assert weir.get("/t/one").status == 200
    moved = tmp_path / "weir.log.1"
    os.rename(log, moved)
    weir.serve.send_signal(signal.SIGUSR1)

    def fresh():
        replies = [weir.get("/t/one").header("X-Request-Id") for _ in range(8)]
        return log.exists() and all(r in log.read_text() for r in replies)

    processes.wait_until(fresh, "all workers to write to the new file")
    assert weir.get("/t/one").status == 200


# ---- Other ways to start -----------------------------------------------------


def stopped(make_weir, **env):
    weir = make_weir(HANDLERS, env, SCHEMA, start=False, front=False)
    house.make_state(weir.state)
    weir.make_database()
    return weir


@pytest.mark.parametrize("arguments", [["worker"], []])
def test_a_worker_runs_under_spawn_fcgi(make_weir, request, arguments):
    weir = stopped(make_weir)
    path = os.path.join(weir.state, "spawned.sock")
    spawned = processes.start(
        ["spawn-fcgi", "-n", "-s", path, "--", weir.binary, *arguments], env=weir.env, cwd=weir.folder, log=weir.log_path
    )
    request.addfinalizer(lambda: processes.kill_group(spawned))
    weir.listen = "unix:" + path
    processes.wait_until(weir.socket_answers, "the health answer", alive=[spawned])
    assert weir.fcgi("GET", "/t/one").json() == [{"one": 1}]
    reply = weir.fcgi_post("/t/jots", {"text": "x"}, "k1")
    assert reply.status == 202
    # No supervisor lives, so the worker consumes as well, and is seen all the same.
    assert weir.status()["supervised"] is False
    assert "without a supervisor" in weir.command("status").stdout
    assert "no supervisor" in weir.command("top").stdout
    processes.wait_until(lambda: weir.rows("SELECT id FROM jots") == [("k1",)], "the write to be applied")
    assert processes.stop(spawned)


def test_weir_listens_on_tcp_on_loopback(make_weir):
    port = processes.free_port()
    weir = stopped(make_weir, WEIR_LISTEN=f"127.0.0.1:{port}")
    weir.listen = f"127.0.0.1:{port}"
    weir.start()
    assert weir.fcgi("GET", "/t/one").status == 200


def test_a_tcp_peer_that_is_not_allowed_is_closed(make_weir):
    port = processes.free_port()
    weir = stopped(make_weir, WEIR_LISTEN=f"127.0.0.1:{port}", WEIR_LISTEN_ALLOW="192.0.2.0/24")
    weir.listen = f"127.0.0.1:{port}"
    weir.start_serve()
    try:

        def closed():
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as s:
                    s.settimeout(10)
                    s.sendall(fcgi.records(params()))
                    return s.recv(1) == b""
            except ConnectionResetError:
                return True
            except ConnectionRefusedError:
                return False

        processes.wait_until(closed, "the refusal", alive=[weir.serve])
    finally:
        processes.stop(weir.serve)


def test_the_mode_of_the_socket_is_the_one_asked_for(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_LISTEN_MODE": "0600"}, SCHEMA, front=False)
    assert os.stat(os.path.join(weir.state, "weir.sock")).st_mode & 0o777 == 0o600


def test_the_group_of_the_socket_is_the_one_asked_for(make_weir):
    mine = {*os.getgroups(), os.getgid()}
    may_any = os.getuid() == 0  # and another than our own shows more
    group = next(g for g in grp.getgrall() if (g.gr_gid in mine) != may_any)
    weir = make_weir(HANDLERS, {"WEIR_LISTEN_GROUP": group.gr_name}, SCHEMA, front=False)
    there = os.stat(os.path.join(weir.state, "weir.sock"))
    assert (there.st_gid, there.st_mode & 0o777) == (group.gr_gid, 0o660)


def test_idle_workers_are_small(make_weir):
    """Not a measurement (see make bench): a guard against something absurd."""
    weir = make_weir(HANDLERS, schema=SCHEMA)
    for pid in weir.workers():
        anonymous = int(processes.status_field(pid, "RssAnon").split()[0])
        assert anonymous < 64 * 1024


# ---- The shared segment ------------------------------------------------------


def segment_path(weir):
    with open(os.path.join(weir.state, "segment")) as f:
        return f.read().strip().split()[0]


def test_the_segment_is_private(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    status = os.stat(segment_path(weir))
    assert status.st_mode & 0o7777 == 0o600 and status.st_uid == os.getuid() and status.st_nlink == 1


def plant(path, squat, victim):
    """Puts something under the segment's name that weir must not use."""
    if squat == "symlink":
        os.symlink(victim, path)
    elif squat == "folder":
        os.mkdir(path)
    else:
        with open(path, "w") as f:
            f.write("precious")
        os.chmod(path, 0o666 if squat == "open to others" else 0o600)
    if squat == "second link":
        os.link(path, path + ".link")
    if squat == "another user":
        os.chown(path, 65534, 65534)


def clear(path):
    for name in (path, path + ".link"):
        if os.path.isdir(name) and not os.path.islink(name):
            os.rmdir(name)
        elif os.path.lexists(name):
            os.unlink(name)


SQUATS = ["symlink", "folder", "second link", "open to others"] + (["another user"] if os.getuid() == 0 else [])


@pytest.mark.parametrize("squat", SQUATS)
def test_what_is_not_ours_alone_under_the_segments_name_is_refused(make_weir, squat):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    path = segment_path(weir)
    processes.stop(weir.serve)
    victim = os.path.join(weir.folder, "victim")
    with open(victim, "w") as f:
        f.write("precious")
    plant(path, squat, victim)
    try:
        with open(os.path.join(weir.state, "segment"), "w") as f:
            f.write(path + "\n")
        weir.start_serve()
        processes.wait_until(lambda: weir.serve.poll() is not None or weir.socket_answers(), "an outcome")
        if weir.serve.poll() is None:
            assert segment_path(weir) != path, "it lives, so it has made its own elsewhere"
        else:
            assert weir.serve.returncode != 0 and path in weir.log()
        for name in (victim, path):
            if os.path.isfile(name):
                assert open(name).read() == "precious"
    finally:
        processes.stop(weir.serve)
        clear(path)


def test_two_binaries_share_nothing_they_should_not(make_weir):
    """Two state folders of one user have two segments."""
    one, two = make_weir(HANDLERS, schema=SCHEMA, front=False), make_weir(HANDLERS, schema=SCHEMA, front=False)
    assert segment_path(one) != segment_path(two)


def test_a_killed_weir_leaves_a_segment_that_the_next_one_can_use(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    for _ in range(3):
        processes.kill_group(weir.serve)
        weir.serve.wait()
        weir.start_serve()
        weir.wait_healthy()
    assert weir.get("/t/one").status == 200
