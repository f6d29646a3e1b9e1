"""Goal: /status answers whatever the workers do, in each form, and `weir status` and `weir top` tell the same."""

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from fcntl import ioctl

import pytest

import processes
import weir as house

HANDLERS = {
    "fast.sql": """-- GET /t/fast
-- returns: one
-- cache: 1m
SELECT 1 AS one;
""",
    "endless.sql": """-- GET /t/endless
-- returns: one
-- timeout: 20s
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS n FROM c;
""",
    "note-create.sql": """-- POST /t/notes
-- body text: text
INSERT INTO notes (text) VALUES (:text);
""",
}
SCHEMA = "CREATE TABLE notes (text TEXT);"
ENV = {"WEIR_THREADS": 2}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def status(weir, query="json"):
    reply = weir.get(f"/status?{query}")
    assert reply.status == 200, reply
    return reply.json()


def workers_of(state):
    return [m for m in state["members"] if m["kind"] == "worker"]


def up(weir, count):
    """The workers' process ids, once so many have joined."""
    pids = [m["pid"] for m in workers_of(status(weir))]
    return pids if len(pids) == count else None


# ---- Forms -------------------------------------------------------------------


def test_curl_gets_text(weir):
    reply = weir.get("/status", {"Accept": "*/*"})
    assert reply.status == 200
    assert reply.header("Content-Type") == "text/plain; charset=utf-8"
    assert reply.body.startswith(b"weir ")
    assert b"supervisor" in reply.body and b"worker" in reply.body
    assert b"WEIR_STATE_DIR" not in reply.body
    assert b"WEIR_STATE_DIR" in weir.get("/status?full").body


def test_a_browser_gets_a_page_that_may_run_nothing_else(weir):
    reply = weir.get("/status", BROWSER)
    assert reply.status == 200
    assert reply.header("Content-Type") == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in reply.header("Content-Security-Policy").split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["script-src"].startswith("'sha256-") and policy["style-src"].startswith("'sha256-")
    assert "unsafe" not in str(policy)
    assert b"http://" not in reply.body.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"src=" not in reply.body.lower().split(b"<script>")[0]


@pytest.mark.parametrize("query", ["", "?json", "?json&full", "?full", "?html"])
def test_no_form_is_kept_or_guessed(weir, query):
    reply = weir.get("/status" + query)
    assert reply.header("Cache-Control") == "no-store"
    assert reply.header("X-Content-Type-Options") == "nosniff"
    assert ("Vary", "Accept") in reply.headers
    assert weir.request("HEAD", "/status" + query).body == b""


def test_it_can_only_be_read(weir):
    reply = weir.request("POST", "/status", body=b"")
    assert (reply.status, reply.header("Allow")) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/status", "/metrics", "/live", "/ready"])
def test_options_says_how(weir, path):
    reply = weir.request("OPTIONS", path)
    assert (reply.status, reply.header("Allow"), reply.body) == (204, "GET, HEAD, OPTIONS", b"")


def test_json_has_the_settings_without_their_secrets_and_the_history_only_when_full(weir):
    assert "settings" not in status(weir) and "history" not in status(weir)
    full = status(weir, "json&full")
    values = {s["name"]: s["value"] for s in full["settings"]}
    assert values["WEIR_STATE_DIR"] == weir.state
    assert values["DB_WRITE_URL"].startswith("sqlite:")
    assert {s["name"] for s in full["settings"] if not s["isDefault"]} >= {"WEIR_THREADS", "WEIR_WORKERS"}
    assert full["history"]["columns"][0] == "atMs"


def test_the_history_grows_by_a_row_a_second_and_ends_now(weir):
    def rows():
        return status(weir, "json&full")["history"]["rows"]

    processes.wait_until(lambda: len(rows()) >= 3, "three seconds of history")
    times = [row[0] for row in rows()]
    assert times == sorted(times)
    assert all(b - a >= 1000 for a, b in zip(times, times[1:]))


def test_what_was_asked_for_is_counted(weir):
    for _ in range(20):
        assert weir.get("/t/fast").status == 200

    def told():
        found = {e["name"]: e for e in status(weir)["endpoints"]}
        return found.get("fast", {}).get("requestsPerS")

    processes.wait_until(told, "the endpoint's traffic")
    state = status(weir)
    [fast] = [e for e in state["endpoints"] if e["name"] == "fast"]
    assert fast["p99Us"] >= fast["p50Us"] >= 0
    assert 0 < fast["cacheRatio"] <= 1
    assert state["window"]["requestsPerS"] > 0
    assert state["row"]["requests"] >= 20


def test_the_command_tells_the_same(weir):
    said = json.loads(weir.command("status", "--json", "--full").stdout)
    assert said.keys() == status(weir, "json&full").keys()
    assert [m["pid"] for m in said["members"]] == [m["pid"] for m in status(weir)["members"]]
    assert weir.command("status").stdout.splitlines()[1] == f"state folder {weir.state}"


def test_limits_and_sheds_are_told_by_policy_and_reason(make_weir):
    weir = make_weir(HANDLERS, {**ENV, "RATE_LIMIT_POINTS": 2}, SCHEMA)
    answers = [weir.get("/t/fast", client="10.9.9.9").status for _ in range(8)]
    refused = answers.count(429)
    assert refused > 0
    state = status(weir)
    [default] = [limit for limit in state["limits"] if limit["policy"] == "default"]
    assert (default["refused"], default["allowed"] >= 8 - refused) == (refused, True)
    assert all(count == 0 for count in state["shed"].values())
    assert f"{refused} refused" in weir.get("/status").body.decode()


# ---- When all is busy ----------------------------------------------------------


def test_with_every_lane_full_it_answers_and_says_what_each_does(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_WORKERS": 1, "WEIR_THREADS": 2}, SCHEMA)
    asked = [threading.Thread(target=weir.get, args=("/t/endless",)) for _ in range(6)]
    for thread in asked:
        thread.start()

    def full():
        state = status(weir, "json&full")
        [worker] = workers_of(state)
        return state if worker["lanes"]["busy"] == 2 and worker["lanes"]["waiting"] == 4 else None

    try:
        state = processes.wait_until(full, "full lanes")
        [worker] = workers_of(state)
        assert worker["lanes"]["max"] == 2
        assert worker["inHand"] == 6 and worker["state"] == "working"
        assert worker["oldest"]["endpoint"] == "endless" and worker["oldest"]["place"] == "lane"
        assert {t["endpoint"] for t in worker["threads"]} == {"endless"}
        assert [t["thread"] for t in worker["threads"]] == [0, 1]
        assert any("every lane is busy" in alarm["text"] for alarm in state["alarms"])
        age = worker["oldest"]["ageMs"]
        processes.wait_until(lambda: workers_of(status(weir))[0]["oldest"]["ageMs"] > age, "it to grow older")
        assert "lane 0" in weir.get("/status?full").body.decode()
    finally:
        weir.stop()  # nobody waits for the endless ones
        for thread in asked:
            thread.join()


def test_with_every_worker_stopped_it_answers_and_names_them(make_weir):
    weir = make_weir(HANDLERS, ENV, SCHEMA)
    stopped = processes.wait_until(lambda: up(weir, 2), "both workers")
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        silent = lambda: {m["pid"] for m in workers_of(status(weir)) if m["state"] == "silent"} == set(stopped)  # noqa: E731
        processes.wait_until(silent, "both to be silent")
        assert weir.get("/status", BROWSER).status == 200
        alarms = status(weir)["alarms"]
        assert all(alarm["grave"] for alarm in alarms)
        assert all(any(f"worker {pid} has shown no heartbeat" in alarm["text"] for alarm in alarms) for pid in stopped)
    finally:
        for pid in stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:  # killed as silent, and replaced
                pass


def test_a_stopped_consumer_is_the_first_thing_said(make_weir):
    weir = make_weir(HANDLERS, ENV)  # without the table
    assert weir.post("/t/notes", {"text": "x"}, key="k1").status == 202
    processes.wait_until(lambda: status(weir)["consumer"]["state"] == "stopped", "the consumer to stop")
    state = status(weir)
    assert state["alarms"][0]["grave"] and "the consumer has stopped: note-create" in state["alarms"][0]["text"]
    assert state["spool"]["waiting"] == 1
    assert b"!!  the consumer has stopped" in weir.get("/status").body
    assert "!! the consumer has stopped" in weir.command("top").stdout.splitlines()[1]


# ---- In a terminal -----------------------------------------------------------


class Terminal:
    """A command on a terminal of its own, which remembers all that was written to it."""

    def __init__(self, weir, *args, rows=24, columns=80, env=None):
        self.master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            [weir.binary, *args],
            env={**weir.env, "LC_ALL": "C.UTF-8", **(env or {})},
            cwd=weir.folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=processes.die_with_parent(signal.SIGTERM),
        )
        self.seen = ""

    def read(self):
        while select.select([self.master], [], [], 0.05)[0]:
            self.seen += os.read(self.master, 65536).decode(errors="replace")
        return self.seen

    def wait_for(self, text):
        processes.wait_until(lambda: text in self.read(), f"{text!r} on the terminal")

    def press(self, keys):
        os.write(self.master, keys)

    def resize(self, rows, columns):
        ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def frame(self):
        """The lines of the newest whole drawing."""
        return self.read().split("\033[H")[-1].split("\r\n")

    def end(self, timeout=10):
        try:
            deadline = time.monotonic() + timeout
            while self.process.poll() is None and time.monotonic() < deadline:
                self.read()
            return self.process.poll()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            after = termios.tcgetattr(self.slave)
            os.close(self.slave)
            os.close(self.master)
            self.restored = after == self.before


def test_top_draws_until_q_and_leaves_the_terminal_as_it_was(weir):
    terminal = Terminal(weir, "top")
    terminal.wait_for("q: quit")
    frames = terminal.seen.count("\033[H")
    processes.wait_until(lambda: terminal.read().count("\033[H") > frames, "the next drawing")
    assert "\033[?1049h" in terminal.seen and "PROCESS" in terminal.seen and "supervisor" in terminal.seen
    terminal.press(b"q")
    assert terminal.end() == 0
    assert terminal.restored and terminal.seen.endswith("\033[?1049l")


def test_top_follows_the_size_of_its_window(weir):
    terminal = Terminal(weir, "top", rows=24, columns=80)
    terminal.wait_for("q: quit")
    terminal.resize(8, 30)
    processes.wait_until(lambda: len(terminal.frame()) == 8 and terminal.frame()[-1].endswith("q: quit"), "a small drawing")
    shown = [re.sub("\033\\[[0-9;]*[A-Za-z]|\r", "", line) for line in terminal.frame()]
    assert max(len(line) for line in shown) == 30, shown
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 0
    assert terminal.restored


def test_top_without_colours_still_says_all(make_weir):
    weir = make_weir(HANDLERS, ENV)
    weir.post("/t/notes", {"text": "x"}, key="k1")
    processes.wait_until(lambda: status(weir)["consumer"]["state"] == "stopped", "the consumer to stop")
    coloured, plain = Terminal(weir, "top"), Terminal(weir, "top", env={"NO_COLOR": "1"})
    for terminal in (coloured, plain):
        terminal.wait_for("the consumer has stopped")
        terminal.wait_for("q: quit")
        terminal.press(b"Q")
        assert terminal.end() == 0
    assert "\033[1;31m" in coloured.seen
    assert "\033[1;31m" not in plain.seen and "\033[33m" not in plain.seen


def test_top_sees_the_pool_end_and_come_back(make_weir):
    weir = make_weir(HANDLERS, ENV, SCHEMA)
    terminal = Terminal(weir, "top")
    terminal.wait_for("supervisor")
    processes.stop(weir.serve)
    terminal.wait_for("nothing is running; waiting for it")
    seen = len(terminal.seen)
    weir.start_serve()
    weir.wait_healthy()
    processes.wait_until(lambda: "supervisor" in terminal.read()[seen:], "the new pool")
    terminal.press(b"q")
    assert terminal.end() == 0


def test_top_knows_the_traffic_also_where_no_supervisor_keeps_a_history(make_weir, request):
    weir = make_weir(HANDLERS, ENV, SCHEMA, start=False, front=False)
    house.make_state(weir.state)
    weir.make_database()
    path = os.path.join(weir.state, "spawned.sock")
    spawned = processes.start(["spawn-fcgi", "-n", "-s", path, "--", weir.binary], env=weir.env, cwd=weir.folder, log=weir.log_path)
    request.addfinalizer(lambda: processes.kill_group(spawned))
    weir.listen = "unix:" + path
    processes.wait_until(weir.socket_answers, "the health answer", alive=[spawned])
    terminal = Terminal(weir, "top")
    terminal.wait_for("no supervisor")

    def rate():
        weir.fcgi("GET", "/t/fast")
        return re.search(r"requests +[0-9.]+/s", "\n".join(terminal.frame()))

    processes.wait_until(rate, "a rate")
    terminal.press(b"q")
    assert terminal.end() == 0


def test_top_without_a_terminal_prints_once(weir):
    said = weir.command("top")
    assert said.returncode == 0, said
    assert "\033" not in said.stdout
    assert said.stdout.startswith("weir ") and "supervisor" in said.stdout


def test_where_nothing_runs_both_say_which_folder_they_looked_in(make_weir):
    weir = make_weir(HANDLERS, ENV, SCHEMA, start=False)
    for command in ("status", "top"):
        said = weir.command(command)
        assert (said.returncode, said.stdout) == (1, ""), said
        assert weir.state in said.stderr
    assert weir.command("top", "fast").returncode == 2
