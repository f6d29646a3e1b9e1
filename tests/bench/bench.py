"""`make bench`: weir beside two bare floors, through the same nginx, and a report in build/bench.md.

    (a)  one blocking libfcgi thread for each connection
    (b)  an epoll reactor around libfcgi that does nothing but answer

Rounds are interleaved, so that a machine that slows down slows all of them; figures are medians.
ROUNDS (5), SECONDS (4), KEYS (5000000), CLIENTS (64) and MISSES (10000) may be set in the environment.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))

import place  # noqa: E402
import processes  # noqa: E402  (found by the line above)
import weir as house  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", 5))
SECONDS = int(os.environ.get("SECONDS", 4))
KEYS = int(os.environ.get("KEYS", 5_000_000))
CLIENTS = int(os.environ.get("CLIENTS", 64))
APACHE_CLIENTS = 16  # mod_fcgid has no more processes
MISSES = int(os.environ.get("MISSES", 10_000))
LUA = os.path.join(house.ROOT, "tests", "bench", "load.lua")
WORKERS = os.cpu_count()

SCHEMA = "CREATE TABLE jots (id TEXT, text TEXT);"

HANDLERS = {
    # As long as the floors' answer.
    "cached.sql": f"""-- GET /b/cached
-- cache: 1h
-- limit: 1000000000/s by client
-- returns: one
SELECT 1 AS id, '{"0" * 491}' AS text;
""",
    "limited.sql": "-- GET /b/limited\n-- limit: 1/d\nSELECT 1 AS id;\n",
    "jot.sql": """-- POST /b/jots
-- body text: text
-- limit: 1000000000/s by client
INSERT INTO jots (id, text) VALUES (:idempotency_key, :text);
""",
    "miss.sql": """-- GET /b/miss
-- cache: 1h
-- limit: 1000000000/s by client
-- timeout: 60s
-- returns: one
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 12000000)
SELECT lower(hex(randomblob(8))) AS nonce, count(*) AS n FROM c;
""",
}


class Floor:
    """A bare FastCGI server behind an nginx of its own."""

    def __init__(self, folder, binary, count):
        os.makedirs(folder, mode=0o700)
        self.port = processes.free_port()
        self.server = processes.start([binary, os.path.join(folder, "weir.sock"), str(count)])
        self.nginx = house.start_nginx(os.path.join(folder, "nginx"), self.port, folder)
        processes.wait_until(lambda: house.port_answers(self.port), "a floor", alive=[self.server, self.nginx])

    def stop(self):
        for process in (self.nginx, self.server):
            processes.stop(process)
            processes.kill_group(process)


# ---- Load --------------------------------------------------------------------


def load(port, path, *script, clients=CLIENTS, seconds=SECONDS):
    """One run of wrk; its figures as a dict, with `per_second`."""
    url = f"http://127.0.0.1:{port}{path}"
    threads = min(2, clients)
    argv = ["wrk", f"-t{threads}", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", LUA, url, "--", *script]
    run = subprocess.run(argv, capture_output=True, text=True, check=True)
    figures = json.loads(next(line for line in run.stdout.splitlines() if line.startswith("{")))
    figures["per_second"] = figures["requests"] / figures["seconds"]
    return figures


def must(condition, what):
    if not condition:
        raise SystemExit(f"bench: {what}")


def median(runs, name):
    return statistics.median(run[name] for run in runs)


def ratios(runs, to, name):
    """The median of what the rounds say: the two runs of one round had the same weather."""
    return statistics.median(one[name] / other[name] for one, other in zip(runs, to))


def read_rounds(weir, a, b):
    """{scenario: [figures of each round]}; after each other in a round, so that all have the same weather."""
    tag = weir.get("/b/cached").header("ETag")
    weir.get("/b/limited")  # the one token of wrk's address
    scenarios = {
        "floor b": (b.port, "/b/cached", "get"),
        "cached": (weir.port, "/b/cached", "get"),
        "floor a": (a.port, "/b/cached", "get"),
        "not modified": (weir.port, "/b/cached", "conditional", tag),
        "limited": (weir.port, "/b/limited", "get"),
    }
    runs = {name: [] for name in scenarios}
    for number in range(ROUNDS):
        print(f"bench: reads, round {number + 1} of {ROUNDS}", flush=True)
        for name in list(scenarios)[:: -1 if number % 2 else 1]:  # to and fro: nobody is always first
            runs[name].append(load(*scenarios[name]))
    for name, some in runs.items():
        for run in some:
            must(run["broken"] == 0, f"{name}: {run['broken']} broken answers")
            must(run["refused"] == (run["requests"] if name == "limited" else 0), f"{name}: {run['refused']} refused")
    return runs


# ---- Apache ------------------------------------------------------------------


def start_apache(front, folder, build):
    """A weir of its own behind Apache, as an ordinary user: mod_fcgid has one process for each client."""
    env = {"WEIR_WORKERS": WORKERS, "LOG_LEVEL": "warn"}
    os.makedirs(folder)
    made = place.Place(folder, os.path.join(build, "weir"), HANDLERS, SCHEMA, env)
    try:
        if front == "mod_fcgid":
            return made.apache("weir.conf", "fcgid", location="/b/")
        made.serve()
        return made.apache("proxy_fcgi.conf", "proxy", "proxy_fcgi", location="/b/")
    except BaseException:
        made.stop()
        raise


def apache_rounds(places):
    runs = {front: [] for front in places}
    for front, made in places.items():
        load(made.front.port, "/b/cached", "get", clients=APACHE_CLIENTS, seconds=1)  # processes are started
    for number in range(ROUNDS):
        print(f"bench: Apache, round {number + 1} of {ROUNDS}", flush=True)
        for front, made in places.items():
            run = load(made.front.port, "/b/cached", "get", clients=APACHE_CLIENTS)
            must(run["broken"] == 0 and run["refused"] == 0, f"{front}: {run}")
            runs[front].append(run)
    return runs


# ---- Writes ------------------------------------------------------------------


class LagWatch:
    """Looks, while writes come, how long the oldest event has waited to be applied."""

    def __init__(self, weir):
        self.weir = weir
        self.worst_ms = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.wait(0.25):
            self.worst_ms = max(self.worst_ms, self.look())

    def look(self):
        return self.weir.status()["spool"]["oldestMs"]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def write_round(weir, clients=CLIENTS):
    """Writes, then waits for the consumer and counts what it has applied."""
    prefix = uuid.uuid4().hex[:12]
    with LagWatch(weir) as lag:
        figures = load(weir.port, "/b/jots", "write", prefix, clients=clients)
    figures["lag_ms"] = lag.worst_ms
    start = time.monotonic()
    processes.wait_until(lambda: weir.status()["spool"]["waiting"] == 0, "the consumer", timeout=600)
    figures["drain_s"] = time.monotonic() - start
    rows, distinct = weir.rows("SELECT count(*), count(DISTINCT id) FROM jots WHERE id LIKE ? || '%'", prefix)[0]
    figures["applied"], figures["doubled"] = rows, rows - distinct
    acknowledged = figures["requests"] - figures["refused"]
    # What was in hand when wrk stopped listening is applied as well.
    must(acknowledged <= distinct <= figures["requests"] + clients, f"{acknowledged} acknowledged, {distinct} applied")
    must(rows == distinct, f"{rows - distinct} writes applied twice")
    return figures


def write_rounds(weir, b):
    runs = {"floor b": [], "write": []}
    for number in range(ROUNDS):
        print(f"bench: writes, round {number + 1} of {ROUNDS}", flush=True)
        runs["floor b"].append(load(b.port, "/b/jots", "write", "floor"))
        runs["write"].append(write_round(weir))
    return runs


def sustained(weir, writes):
    """The rate at which the oldest event stays under 2 s: that of all clients, or of as few as it takes."""
    full = {"clients": CLIENTS, "per_second": median(writes, "per_second"), "lag_ms": max(r["lag_ms"] for r in writes)}
    if full["lag_ms"] < 2000:
        return full
    for clients in (32, 16, 8, 4, 2, 1):
        run = write_round(weir, clients)
        if run["lag_ms"] < 2000:
            return {"clients": clients, **{name: run[name] for name in ("per_second", "lag_ms")}}
    return {"clients": 0, "per_second": 0, "lag_ms": full["lag_ms"]}


# ---- Misses, memory ----------------------------------------------------------


async def one_miss(port, delay):
    await asyncio.sleep(delay)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /b/miss HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
    finally:
        writer.close()
    return answer


async def all_misses(port):
    """The answers of many clients that ask for one missing copy, within two seconds."""
    work = (one_miss(port, 2 * i / MISSES) for i in range(MISSES))
    return await asyncio.gather(*work, return_exceptions=True)


def misses(weir):
    print(f"bench: {MISSES} misses of one key", flush=True)
    before = weir.counter("queries")
    answers = asyncio.run(all_misses(weir.port))
    good = [a for a in answers if isinstance(a, bytes) and a.startswith(b"HTTP/1.1 200")]
    bodies = {a.partition(b"\r\n\r\n")[2] for a in good}
    return {"answered": len(good), "different": len(bodies), "queries": weir.counter("queries") - before}


def idle_memory(weir):
    """KiB that each worker has for itself or maps of files; the shared segment is not in it."""

    def kib(pid, field):
        return int(processes.status_field(pid, field).split()[0])

    return [kib(pid, "RssAnon") + kib(pid, "RssFile") for pid in weir.workers()]


# ---- Report ------------------------------------------------------------------


def row(what, value, target=None, good=None):
    verdict = "" if good is None else ("yes" if good else "**no**")
    return f"| {what} | {value} | {target or ''} | {verdict} |"


def report(reads, apaches, writes, rate, crowd, memory):
    def rps(runs):
        return median(runs, "per_second")

    a, b, cached = reads["floor a"], reads["floor b"], reads["cached"]
    p99 = ratios(cached, b, "p99_ms")
    post, write = writes["floor b"], writes["write"]

    def ratio(runs, to, least):
        value = ratios(runs, to, "per_second")
        return f"{value:.2f}", f"at least {least}", value >= least

    lines = [
        "# Bench",
        "",
        f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}; "
        f"{ROUNDS} rounds of {SECONDS} s, wrk with {CLIENTS} connections, through nginx, log level `warn`; "
        f"medians of requests/s, and of the ratios of each round.",
        "",
        "| what | requests/s | p50 ms | p99 ms |",
        "| --- | ---: | ---: | ---: |",
    ]
    named = [
        ("floor (a): a blocking thread for each request, GET", a),
        ("floor (b): a bare reactor, GET", b),
        ("weir: cached read with limit and ETag", cached),
        ("weir: 304", reads["not modified"]),
        ("weir: 429", reads["limited"]),
        *[(f"weir: cached read through Apache, {front}, {APACHE_CLIENTS} connections", runs) for front, runs in apaches.items()],
        ("floor (b): POST", post),
        (f"weir: durable write, {KEYS:,} keys stored", write),
    ]
    for name, runs in named:
        lines.append(f"| {name} | {rps(runs):,.0f} | {median(runs, 'p50_ms'):.1f} | {median(runs, 'p99_ms'):.1f} |")
    lines += [
        "",
        "| measured | value | wanted | met |",
        "| --- | ---: | --- | --- |",
        row("cached read / floor (b)", *ratio(cached, b, 0.9)),
        row("cached read / floor (a)", *ratio(cached, a, 1.5)),
        row("p99 of a cached read / floor (b)", f"{p99:.2f}", "at most 1.5", p99 <= 1.5),
        row("304 / cached read", *ratio(reads["not modified"], cached, 1.0)),
        row("429 / cached read", *ratio(reads["limited"], cached, 1.0)),
        row("durable write / floor (b)", *ratio(write, post, 0.45)),
        row("writes applied twice", sum(r["doubled"] for r in write), "0", sum(r["doubled"] for r in write) == 0),
        row("oldest unapplied event at full rate", f"{max(r['lag_ms'] for r in write):,} ms", "under 2 s, or the next line"),
        row("rate at which it stays under 2 s", f"{rate['per_second']:,.0f}/s with {rate['clients']} clients"),
        row("writes applied by the consumer", f"{applied_rate(write):,.0f}/s"),
        row(f"queries for {MISSES:,} concurrent misses", crowd["queries"], "exactly 1", crowd["queries"] == 1),
        row("of them answered 200, all alike", crowd["answered"], f"{MISSES}", crowd["answered"] == MISSES and crowd["different"] == 1),
        row("memory of an idle worker", f"{max(memory) / 1024:.1f} MiB", "under 12 MiB", max(memory) < 12 * 1024),
        "",
    ]
    return "\n".join(lines)


def applied_rate(runs):
    """Over the time from the first write until nothing waits any more."""
    return statistics.median(r["applied"] / (r["seconds"] + r["drain_s"]) for r in runs)


# ---- All together ------------------------------------------------------------


def allow_many_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    must(hard >= MISSES + 1000, f"only {hard} open files are allowed; MISSES must be smaller")


def measure(build, folder, started):
    env = {"WEIR_WORKERS": WORKERS, "WEIR_CACHE_BYTES": "64m", "WEIR_SPOOL_BYTES": "4g", "LOG_LEVEL": "warn"}
    handlers = house.write_handlers(os.path.join(folder, "handlers"), HANDLERS)
    weir = house.Weir(os.path.join(folder, "w"), os.path.join(build, "weir"), [handlers], env, schema=SCHEMA)
    weir.env.pop("WEIR_TRUSTED_PROXIES")  # wrk is one client, and the limit is its own
    started.append(weir)
    house.make_state(weir.state)
    subprocess.run([os.path.join(build, "bench", "seed"), str(KEYS)], env=weir.env, check=True)
    weir.start()
    time.sleep(2)
    memory = idle_memory(weir)

    for name, count in (("a", 2 * CLIENTS + 128), ("b", WORKERS)):
        started.append(Floor(os.path.join(folder, name), os.path.join(build, "bench", f"floor_{name}"), count))
    a, b = started[1:]
    reads = read_rounds(weir, a, b)
    places = {}
    for front in ("mod_proxy_fcgi", "mod_fcgid"):
        places[front] = start_apache(front, os.path.join(folder, front), build)
        started.append(places[front])
    apaches = apache_rounds(places)
    writes = write_rounds(weir, b)
    rate = sustained(weir, writes["write"])
    return report(reads, apaches, writes, rate, misses(weir), memory)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    build = os.path.realpath(parser.parse_args().build)
    allow_many_files()
    folder = os.path.join(build, "bench", "run")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    started = []
    try:
        text = measure(build, folder, started)
    finally:
        for one in started:
            one.stop()
        shutil.rmtree(folder)
    with open(os.path.join(build, "bench.md"), "w") as f:
        f.write(text)
    print(text)


if __name__ == "__main__":
    main()
