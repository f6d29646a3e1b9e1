"""`make bench`, second half: weir on Redis, Kafka and PostgreSQL; a report in build/bench-fleet.md.

All of them on this machine, so that they share its CPUs with weir, nginx and wrk.  PARTS chooses (all: quota, total,
cached, misses, forward, acks, consumer); ROUNDS, SECONDS, CLIENTS as in the first half, EVENTS (100000) for the
consumer, RATE (20000) of the limit.
"""

import argparse
import asyncio
import os
import platform
import signal
import statistics
import sys
import tempfile
import threading
import time
import uuid

import bench
import kafka as kafka_server
import postgres
import processes
import redis_server
import weir as house

RATE = int(os.environ.get("RATE", 20_000))
EVENTS = int(os.environ.get("EVENTS", 100_000))
TOTAL_SECONDS = int(os.environ.get("TOTAL_SECONDS", 30))
INSTANCES = 4
WRITES = "-- POST /b/jots\n-- body text: text\n-- limit: 1000000000/s by client\n"
WRITES += "INSERT INTO jots (id, text) VALUES (:idempotency_key, :text);\n"


def handlers():
    hot = f"-- GET /b/hot\n-- cache: 1h\n-- limit: {RATE}/s by client, burst {RATE // 10}\n-- returns: one\nSELECT 1 AS id;\n"
    # A bucket as large as the rate, as `limit:` alone makes it; above, one that does not hide the rate behind its size.
    plain = f"-- GET /b/plain\n-- cache: 1h\n-- limit: {RATE}/s by client\n-- returns: one\nSELECT 1 AS id;\n"
    return {**bench.HANDLERS, "jot.sql": WRITES, "hot.sql": hot, "plain.sql": plain}


class Fleet:
    """What was started, to be stopped in reverse; and instances of weir that share it."""

    def __init__(self, build, folder):
        self.build, self.folder, self.started = build, folder, []
        self.handlers = house.write_handlers(os.path.join(folder, "handlers"), handlers())

    def keep(self, server):
        self.started.append(server)
        return server

    def redis(self):
        return self.keep(redis_server.Redis(self.folder, f"redis-{len(self.started)}").start())

    def kafka(self):
        return self.keep(kafka_server.Kafka(os.path.join(self.folder, f"kafka-{len(self.started)}")).start())

    def postgres(self, **how):
        return self.keep(postgres.Servers(**how))

    def weir(self, workers=bench.WORKERS, schema=bench.SCHEMA, **env):
        env = {"WEIR_WORKERS": workers, "WEIR_CACHE_BYTES": "64m", "WEIR_SPOOL_BYTES": "1g", "LOG_LEVEL": "warn", **env}
        folder = os.path.join(self.folder, f"weir-{len(self.started)}")
        weir = house.Weir(folder, os.path.join(self.build, "weir"), [self.handlers], env, schema=schema)
        weir.env.pop("WEIR_TRUSTED_PROXIES")  # wrk is one client
        self.keep(weir)
        return weir.start()

    def stop(self):
        for server in reversed(self.started):
            server.stop()


def together(work):
    """Runs functions at the same time and returns what they return, in order."""
    results = [None] * len(work)

    def one(i):
        results[i] = work[i]()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def scripts_run(redis):
    return redis.calls("evalsha") + redis.calls("eval")


# ---- Parts: each returns rows of the report -----------------------------------


def quota(fleet):
    """What a hot key costs Redis while all its requests are admitted."""
    redis = fleet.redis()
    weir = fleet.weir(REDIS_URL=redis.url)
    before = scripts_run(redis)
    run = bench.load(weir.port, "/b/plain", "get", clients=1)  # below the limit
    calls = scripts_run(redis) - before
    admitted = run["requests"] - run["refused"]
    must_admit = f"{run['refused']} of {run['requests']} refused" if run["refused"] else "all admitted"
    ratio = calls / admitted
    return [
        bench.row(f"Redis calls for each admitted request, {run['per_second']:,.0f}/s, {must_admit}", f"{ratio:.4f}", "at most 0.02", ratio <= 0.02)
    ]


def total(fleet):
    """Four instances with segments of their own share one limit, and are offered twice of it."""
    redis = fleet.redis()
    weirs = [fleet.weir(workers=1, REDIS_URL=redis.url) for _ in range(INSTANCES)]
    start = time.monotonic()
    runs = together([lambda w=w: bench.load(w.port, "/b/hot", "get", clients=16, seconds=TOTAL_SECONDS) for w in weirs])
    seconds = time.monotonic() - start
    offered = sum(run["requests"] for run in runs)
    admitted = sum(run["requests"] - run["refused"] for run in runs)
    measured = statistics.mean(run["seconds"] for run in runs)
    bound = RATE // 10 + RATE * seconds
    off = admitted / measured / RATE - 1
    return [
        bench.row(f"{INSTANCES} instances, one limit of {RATE:,}/s, offered {offered / measured:,.0f}/s: admitted", f"{admitted / measured:,.0f}/s ({off:+.2%})", "within 1 %", abs(off) <= 0.01),
        bench.row("of that, above burst + rate x time", f"{max(0, admitted - bound):,.0f}", "0", admitted <= bound),
    ]


def cached(fleet):
    """Cached reads with everything configured beside the embedded default; then with each backend stalled."""
    redis, pg, kafka = fleet.redis(), fleet.postgres(replicas=0, bouncer=False), fleet.kafka()
    pg.primary.sql("CREATE TABLE jots (id text, text text)")
    alone = fleet.weir()
    whole = fleet.weir(schema="", REDIS_URL=redis.url, KAFKA_BROKERS=kafka.brokers, DB_WRITE_URL=pg.primary.url())
    runs = {"alone": [], "whole": []}
    for weir in (alone, whole):
        weir.get("/b/cached")
    for number in range(bench.ROUNDS):
        for name, weir in [("alone", alone), ("whole", whole)][:: -1 if number % 2 else 1]:
            runs[name].append(bench.load(weir.port, "/b/cached", "get"))
    ratio = bench.ratios(runs["whole"], runs["alone"], "per_second")
    rows = [bench.row(f"cached read with Redis, Kafka, PostgreSQL / embedded ({bench.median(runs['whole'], 'per_second'):,.0f}/s)", f"{ratio:.2f}", "at least 0.95", ratio >= 0.95)]
    stalls = {"Redis": (redis.suspend, redis.resume), "Kafka": (kafka.freeze, kafka.thaw), "PostgreSQL": (pg.primary.freeze, pg.primary.thaw)}
    for name, (stall, go_on) in stalls.items():
        before = [bench.load(whole.port, "/b/cached", "get") for _ in range(bench.ROUNDS)]
        stall()
        try:
            during = [bench.load(whole.port, "/b/cached", "get") for _ in range(bench.ROUNDS)]
        finally:
            go_on()
        p99 = bench.median(during, "p99_ms") / bench.median(before, "p99_ms")
        broken = sum(run["broken"] + run["refused"] for run in during)
        rows.append(bench.row(f"p99 of cached reads, {name} stalled / before ({broken} failed)", f"{p99:.2f}", "below 2", p99 < 2 and broken == 0))
    return rows


def misses(fleet):
    """Many clients of four instances ask for one copy that nobody has."""
    redis = fleet.redis()
    weirs = [fleet.weir(workers=1, REDIS_URL=redis.url) for _ in range(INSTANCES)]

    async def everywhere():
        each = bench.MISSES // INSTANCES
        work = (bench.one_miss(weirs[i % INSTANCES].port, 2 * i / bench.MISSES) for i in range(each * INSTANCES))
        return await asyncio.gather(*work, return_exceptions=True)

    answers = asyncio.run(everywhere())
    good = [a for a in answers if isinstance(a, bytes) and a.startswith(b"HTTP/1.1 200")]
    bodies = {a.partition(b"\r\n\r\n")[2] for a in good}
    queries = sum(weir.counter("queries") for weir in weirs)
    suspended = sum('"to":"suspended"' in weir.log() for weir in weirs)
    note = f"; {suspended} of them had suspended Redis, which did not answer within REDIS_TIMEOUT" if suspended else ""
    return [
        bench.row(f"queries for {len(answers):,} misses of one key over {INSTANCES} instances{note}", queries, "exactly 1", queries == 1),
        bench.row("of them answered 200, all alike", len(good), f"{len(answers)}", len(good) == len(answers) and len(bodies) == 1),
    ]


def forward(fleet):
    """Writes as fast as they come; how old does what Kafka does not have yet become?"""
    kafka = fleet.kafka()
    weir = fleet.weir(KAFKA_BROKERS=kafka.brokers)
    with bench.LagWatch(weir) as watch:  # the spool holds what Kafka does not have
        run = bench.load(weir.port, "/b/jots", "write", uuid.uuid4().hex[:12])
    age = watch.worst_ms
    return [bench.row(f"oldest event not yet in Kafka at {run['per_second']:,.0f} durable writes/s", f"{age:,} ms", "under 1 s", age < 1000)]


def acks(fleet):
    """202 only when Kafka has it: the latency at about half of what it can do."""
    kafka = fleet.kafka()
    weir = fleet.weir(KAFKA_BROKERS=kafka.brokers, WEIR_ACK="kafka")
    most = bench.load(weir.port, "/b/jots", "write", uuid.uuid4().hex[:12])
    for clients in (32, 24, 16, 12, 8, 4, 2):
        run = bench.load(weir.port, "/b/jots", "write", uuid.uuid4().hex[:12], clients=clients)
        if run["per_second"] <= most["per_second"] * 0.55:
            break
    return [bench.row(f"p99 of WEIR_ACK=kafka at {run['per_second']:,.0f}/s, saturation {most['per_second']:,.0f}/s", f"{run['p99_ms']:.1f} ms", "under 25 ms", run["p99_ms"] < 25)]


def consumer(fleet):
    """A spool full of events, then the consumer into PostgreSQL with the key table."""
    pg = fleet.postgres(replicas=0, bouncer=False)
    pg.primary.sql("CREATE TABLE jots (id text, text text)")
    weir = fleet.weir(schema="", DB_WRITE_URL=pg.primary.url())
    with house.consumer_place(weir.state):
        while weir.status()["spool"]["waiting"] < EVENTS:
            bench.load(weir.port, "/b/jots", "write", uuid.uuid4().hex[:12])
        waiting = weir.status()["spool"]["waiting"]
    start = time.monotonic()
    processes.wait_until(lambda: weir.status()["spool"]["waiting"] == 0, "the consumer", timeout=600)
    rate = waiting / (time.monotonic() - start)
    rows = int(pg.primary.sql("SELECT count(*) FROM jots"))
    bench.must(rows == int(pg.primary.sql("SELECT count(DISTINCT id) FROM jots")), "a write was applied twice")
    return [bench.row(f"events/s into PostgreSQL with the key table ({rows:,} rows)", f"{rate:,.0f}", "at least 20 000", rate >= 20_000)]


PARTS = (quota, total, cached, misses, forward, acks, consumer)


def measure(build, wanted):
    rows = []
    for part in PARTS:
        if part.__name__ not in wanted:
            continue
        print(f"bench: fleet, {part.__name__}", flush=True)
        with tempfile.TemporaryDirectory(prefix="fleet-", dir=os.path.join(build, "bench")) as folder:
            fleet = Fleet(build, folder)
            try:
                rows += part(fleet)
            finally:
                fleet.stop()
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    build = os.path.realpath(parser.parse_args().build)
    bench.allow_many_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    names = [part.__name__ for part in PARTS]
    rows = measure(build, os.environ.get("PARTS", ",".join(names)).split(","))
    text = "\n".join(
        [
            "# Bench of the fleet",
            "",
            f"{platform.machine()}, {os.cpu_count()} CPUs for all servers and the load, Linux {platform.release()}; log level `warn`.",
            "",
            "| measured | value | wanted | met |",
            "| --- | ---: | --- | --- |",
            *rows,
            "",
        ]
    )
    with open(os.path.join(build, "bench-fleet.md"), "w") as f:
        f.write(text)
    print(text)


if __name__ == "__main__":
    main()
