"""Goal: the demo API works end to end, and leaves nothing behind when it stops."""

import os
import re
import signal
import stat
import subprocess
import sys

import processes
import weir as house

DATABASES = ("sqlite", "postgresql")


def test_health_is_ok_and_never_cached(weir):
    reply = weir.get("/api/v1/health")
    assert reply.status == 200
    assert reply.json() == {"status": "ok"}
    assert reply.header("Cache-Control") == "no-store"


def test_a_country_is_read_by_its_code(weir):
    reply = weir.get("/api/v1/countries/PT")
    assert reply.status == 200
    assert reply.header("Content-Type").startswith("application/json")
    country = reply.json()
    assert country["code"] == "PT" and country["name"] == "Portugal" and country["flag"] == "🇵🇹"


def test_a_country_that_is_not_there_is_404(weir):
    reply = weir.get("/api/v1/countries/ZZ")
    assert reply.status == 404
    assert reply.header("Content-Type").startswith("application/problem+json")


def test_all_countries_are_listed(weir):
    countries = weir.get("/api/v1/countries").json()
    assert len(countries) > 200
    assert {"PT", "DE", "JP"} <= {c["code"] for c in countries}


def test_subdivisions_belong_to_their_country(weir):
    subdivisions = weir.get("/api/v1/countries/PT/subdivisions").json()
    assert len(subdivisions) >= 20
    assert any(s["name"] == "Lisboa" for s in subdivisions)


def test_languages_are_found_by_a_part_of_their_name(weir):
    assert any(x["name"] == "Portuguese" for x in weir.get("/api/v1/languages?q=portu").json())


def test_an_event_is_accepted_applied_and_read_back(weir):
    reply = weir.post("/api/v1/events", {"type": "hello", "payload": {"n": [1, 2.5, None, "é"]}}, key="smoke-1")
    assert reply.status == 202
    assert reply.json() == {"status": "accepted", "eventId": "smoke-1"}
    operation = weir.wait_operation(reply.header("Location")).json()
    assert operation["rows"] == 1
    event = weir.get("/api/v1/events/smoke-1").json()
    assert event["id"] == "smoke-1" and event["type"] == "hello"
    assert event["payload"] == {"n": [1, 2.5, None, "é"]}


def test_statistics_follow_an_applied_write(weir):
    weir.get("/api/v1/stats")  # a copy that the write must drop
    reply = weir.post("/api/v1/events", {"type": "counted-kind"}, key="smoke-2")
    weir.wait_operation(reply.header("Location"))
    assert "counted-kind" in weir.get("/api/v1/stats").body.decode()


def test_live_and_ready_answer_on_this_machine_only_through_the_admin_socket(weir):
    assert weir.get("/live").status == 200
    processes.wait_until(lambda: weir.get("/ready").status == 200, "/ready")
    assert weir.admin("/live").status == 200
    assert weir.fcgi("GET", "/live").status == 404, "workers never route admin paths"


def test_what_is_in_the_state_folder_is_ours_alone(weir):
    assert stat.S_IMODE(os.stat(weir.state).st_mode) == 0o700
    for folder, _, names in os.walk(weir.state):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            if stat.S_ISREG(status.st_mode):
                assert stat.S_IMODE(status.st_mode) == 0o600, os.path.join(folder, name)
    assert stat.S_IMODE(os.stat(os.path.join(weir.state, "weir.sock")).st_mode) == 0o660


def test_a_second_serve_on_the_same_state_folder_is_refused(weir):
    again = weir.command("serve")
    assert again.returncode == 1
    assert "running" in again.stderr and str(weir.serve.pid) in again.stderr


def test_stopping_leaves_no_process_no_socket_and_no_segment(make_weir):
    weir = make_weir(atlas=True)
    with open(os.path.join(weir.state, "segment")) as f:
        segment = re.search(r"/\S+", f.read()).group()
    assert os.path.exists(segment)
    members = weir.members()
    assert len(members) >= 2
    assert processes.stop(weir.serve), "TERM was not enough"
    assert weir.serve.returncode == 0
    assert [pid for pid in members if not processes.ends_within(pid, 10)] == []
    assert not os.path.exists(segment)
    assert not os.path.exists(os.path.join(weir.state, "weir.sock"))


class Run:
    """`make run`'s script on a state folder of its own."""

    def __init__(self, binary, state):
        self.port = processes.free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-B", os.path.join(house.ROOT, "tests", "support", "run.py")]
            + ["--binary", binary, "--port", str(self.port), "--state", state],
            env=house.clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, words):
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if words in line:
                return
        raise AssertionError("".join(lines))

    def end(self):
        self.process.kill()
        self.process.communicate()


def run_until_ready(binary, state, request):
    run = Run(binary, state)
    request.addfinalizer(run.end)
    run.wait_for("Ctrl-C stops everything")
    assert house.port_answers(run.port)
    return run


def test_make_run_serves_and_ctrl_c_stops_everything(binary, new_state, request):
    for _ in range(2):  # the second start finds the first one's state
        run = run_until_ready(binary, new_state, request)
        started = processes.children_of(run.process.pid)
        assert len(started) == 2
        run.process.send_signal(signal.SIGINT)
        output = run.process.communicate(timeout=30)[0]
        assert run.process.returncode == 0, output
        assert [pid for pid in started if processes.is_alive(pid)] == []
        assert not house.port_answers(run.port)


def test_make_run_says_so_and_stops_when_one_of_its_servers_dies(binary, new_state, request):
    run = run_until_ready(binary, new_state, request)
    started = processes.children_of(run.process.pid)
    nginx = next(pid for pid in started if "nginx" in " ".join(processes.command_of(pid)))
    os.kill(nginx, signal.SIGKILL)
    output = run.process.communicate(timeout=30)[0]
    assert run.process.returncode == 1
    assert "nginx ended by itself" in output
    assert [pid for pid in started if processes.is_alive(pid)] == []


def test_make_run_on_a_used_port_says_how_to_take_another(binary, new_state, request):
    first = run_until_ready(binary, new_state, request)
    second = subprocess.run(
        [sys.executable, "-B", os.path.join(house.ROOT, "tests", "support", "run.py")]
        + ["--binary", binary, "--port", str(first.port), "--state", new_state],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert "PORT=9000 make run" in second.stderr


def test_everything_ends_when_the_runner_is_killed(binary, new_state, request):
    run = run_until_ready(binary, new_state, request)
    started = processes.children_of(run.process.pid)
    members = [child for pid in started for child in processes.children_of(pid)]
    run.process.kill()
    run.process.wait()
    assert [pid for pid in started + members if not processes.ends_within(pid, 15)] == []
