"""`make bench`, last part: more load than can be done; a report in build/bench/overload.md, drawn in overload.svg.

Load comes at its rate whatever becomes of it (open_loop.c), and a latency counts from when its request should have left.
PARTS chooses (all: goodput, tenants, stall, computing); SECONDS (5) is one load's time, QUERY_MS (10) what a query takes.

    goodput   0.5 to 4 times what can be done, of a query that waits, on PostgreSQL with CONNECTIONS (4); and /live,
              /status and /metrics meanwhile
    tenants   ten clients with nearly as much as can be done; then one of them asks for twenty times his part
    computing goodput once more, of a query that computes, on the embedded database: it shares the CPUs with all else
    stall     PostgreSQL stopped for 10 s under load, and how soon as much is done as before
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import bench
import fcgi
import postgres
import weir as house

SECONDS = float(os.environ.get("SECONDS", 5))
QUERY_MS = float(os.environ.get("QUERY_MS", 10))
TIMES = (0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4)
WARM_SECONDS, FIRST_WARM_SECONDS = 3, 8  # the limits are learnt in the first seconds of the first load
CONNECTIONS = int(os.environ.get("CONNECTIONS", 4))
CLIENTS, GREEDY = 10, 20
STALL_SECONDS, SLICE_MS, PG_RATE = 10, 100, 100

HANDLERS = {
    "work.sql": """-- GET /o/work
-- param n: integer
-- returns: one
-- limit: 1000000000/s by client
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < CAST(:n AS integer))
SELECT count(*) AS n FROM c;
""",
}
SLEEP = f"""-- GET /o/sleep
-- returns: one
-- limit: 1000000000/s by client
SELECT CAST(pg_sleep({QUERY_MS / 1000}) AS text) AS slept;
"""


def open_loop(build, port, path, warm, seconds, *streams, slice_ms=SLICE_MS):
    argv = [os.path.join(build, "bench", "open_loop"), port, path, warm, seconds, slice_ms, *streams]
    run = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def rows_for(weir):
    """How many rows the query must count to take QUERY_MS here, alone."""
    n = 20000
    for _ in range(6):
        took = []
        for _ in range(15):
            start = time.monotonic()
            bench.must(weir.get(f"/o/work?n={n}").status == 200, "the query failed")
            took.append((time.monotonic() - start) * 1000)
        n = max(100, int(n * QUERY_MS / max(statistics.median(took) - 0.5, 0.1)))
    return n


def figures(result, number=0):
    """Of one stream, a second."""
    stream, seconds = result["streams"][number], result["seconds"]
    bench.must(stream["other"] == 0 and stream["broken"] == 0, f"answers that are neither 200 nor 503: {stream}")
    return {
        "sent": stream["sent"] / seconds,
        "good": stream["good"]["count"] / seconds,
        "shed": stream["shed"]["count"] / seconds,
        **{f"{kind}_{q}": stream[kind][q] for kind in ("good", "shed") for q in ("p50", "p99")},
    }


# ---- Goodput -----------------------------------------------------------------------


class Onlooker:
    """Asks the admin socket again and again, and notes the longest answer."""

    PATHS = ("/live", "/status?json", "/metrics")

    def __init__(self, weir):
        self.weir, self.over, self.took_ms = weir, threading.Event(), {path: [] for path in self.PATHS}
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.wait(0.05):
            for path in self.PATHS:
                start = time.monotonic()
                answer = fcgi.request(self.weir.admin_listen, "GET", path)
                if answer.status == 200:
                    self.took_ms[path].append((time.monotonic() - start) * 1000)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def goodput(build, weir, path, guess, name):
    print(f"bench: overload, {name}", flush=True)
    calm = figures(open_loop(build, weir.port, path, 1, 2 * SECONDS, 10))
    full = figures(open_loop(build, weir.port, path, FIRST_WARM_SECONDS, SECONDS, guess))["good"]
    runs = []
    with Onlooker(weir) as onlooker:
        for times in TIMES:
            runs.append(figures(open_loop(build, weir.port, path, WARM_SECONDS, SECONDS, full * times)))
    peak = max(run["good"] for run in runs)
    at_3 = runs[TIMES.index(3)]
    lines = [
        f"Unloaded (10/s): p50 {calm['good_p50']:.1f} ms, p99 {calm['good_p99']:.1f} ms.  1x is {full:.0f}/s.",
        "",
        "| offered | sent/s | answered/s | of the peak | p50 ms | p99 ms | shed/s | shed p50 ms | shed p99 ms |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for times, run in zip(TIMES, runs):
        lines.append(
            f"| {times}x | {run['sent']:.0f} | {run['good']:.0f} | {run['good'] / peak:.2f} | {run['good_p50']:.1f} | "
            f"{run['good_p99']:.1f} | {run['shed']:.0f} | {run['shed_p50']:.1f} | {run['shed_p99']:.1f} |"
        )
    slowdown = at_3["good_p99"] / calm["good_p99"]
    wanted = [
        row("goodput at 3x / peak", f"{at_3['good'] / peak:.2f}", "at least 0.9", at_3["good"] / peak >= 0.9),
        row("p99 of what is accepted at 3x / unloaded", f"{slowdown:.2f}", "below 3", slowdown < 3),
        row("p50 of a refusal at 3x", f"{at_3['shed_p50']:.1f} ms", "under 5 ms", at_3["shed_p50"] < 5),
    ]
    for path, took in onlooker.took_ms.items():
        if took:
            worst = max(took)
            wanted.append(row(f"longest answer of {path} meanwhile", f"{worst:.0f} ms", "under 50 ms", worst < 50))
    draw(os.path.join(build, "bench", f"overload-{name}.svg"), [full * times for times in TIMES], runs, calm)
    return lines, wanted, full


def row(what, value, wanted, met):
    return f"| {what} | {value} | {wanted} | {'yes' if met else '**no**'} |"


# ---- One who asks for most ---------------------------------------------------------


def tenants(build, weir, path, full):
    print("bench: overload, tenants", flush=True)

    def run(first):
        rates = [first] + [full * 0.9 / CLIENTS] * (CLIENTS - 1)
        streams = [f"{rate:.3f},X-Forwarded-For: 192.0.2.{i + 1}" for i, rate in enumerate(rates)]
        result = open_loop(build, weir.port, path, WARM_SECONDS, 2 * SECONDS, *streams)
        each = [figures(result, i) for i in range(CLIENTS)]
        return each[0], sum(one["good"] for one in each[1:]), max(one["good_p99"] for one in each[1:])

    equal, others_before, p99_before = run(full * 0.9 / CLIENTS)
    greedy, others, p99 = run(full / CLIENTS * GREEDY)
    lost = 1 - others / others_before
    lines = [
        "| | the one | the other nine | their worst p99 ms |",
        "| --- | ---: | ---: | ---: |",
        f"| all ask for 0.9 of their part | {equal['good']:.0f}/s | {others_before:.0f}/s | {p99_before:.1f} |",
        f"| one asks for {GREEDY} times his | {greedy['good']:.0f}/s of {greedy['sent']:.0f} | {others:.0f}/s | {p99:.1f} |",
    ]
    return lines, [row("what the others lose", f"{100 * lost:.1f} %", "less than 5 %", lost < 0.05)]


# ---- A database that stalls --------------------------------------------------------


def stall(build, weir, servers):
    print("bench: overload, stall", flush=True)
    before, after = 3, 6
    timer = threading.Thread(target=hold_still, args=(servers, 2 + before))
    timer.start()
    result = open_loop(build, weir.port, "/o/sleep", 2, before + STALL_SECONDS + after, PG_RATE)
    timer.join()
    per_slice = 1000 / SLICE_MS
    slices = [n * per_slice for n in result["slices"]]
    usual = statistics.median(slices[: int((before - 0.5) * per_slice)])
    back = int((before + STALL_SECONDS) * per_slice)
    waited = next((i / per_slice for i in range(len(slices) - back) if window(slices, back + i) >= 0.9 * usual), None)
    shown = "not at all" if waited is None else f"{waited:.1f} s"
    lines = [f"{PG_RATE}/s of a query that waits {QUERY_MS:.0f} ms; answered/s: {usual:.0f} before; all processes of PostgreSQL stopped for {STALL_SECONDS} s."]
    return lines, [row("as much again after", shown, "within 2 s", waited is not None and waited <= 2)]


def window(slices, at, length=3):
    """A slice alone is too short to compare."""
    part = slices[at : at + length]
    return sum(part) / length


def hold_still(servers, after):
    time.sleep(after)
    servers.primary.freeze()
    time.sleep(STALL_SECONDS)
    servers.primary.thaw()


# ---- The picture -------------------------------------------------------------------


def draw(file, offered, runs, calm):
    width, height, left, bottom = 640, 300, 60, 40
    top = max(run["good"] for run in runs) * 1.15
    slow = max(max(run["good_p99"] for run in runs), 3 * calm["good_p99"]) * 1.1

    def x(rate):
        return left + rate / max(offered) * (width - 2 * left)

    def y(value, most):
        return height - bottom - value / most * (height - 2 * bottom)

    def line(values, most, colour, dash=""):
        points = " ".join(f"{x(rate):.1f},{y(value, most):.1f}" for rate, value in zip(offered, values))
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'

    def text(at_x, at_y, words, colour="#444", anchor="middle"):
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" fill="{colour}" text-anchor="{anchor}">{words}</text>'

    limit = y(3 * calm["good_p99"], slow)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<path d="M{left} {bottom}V{height - bottom}H{width - left}V{bottom}" fill="none" stroke="#999"/>',
        f'<path d="M{left} {limit:.1f}H{width - left}" stroke="#c60" stroke-dasharray="2 4"/>',
        text(width - left - 4, limit - 4, "3 x the unloaded p99", "#c60", "end"),
        line([run["good"] for run in runs], top, "#06c"),
        line([run["good_p99"] for run in runs], slow, "#c60"),
        text(left, bottom - 12, "answered/s", "#06c"),
        text(width - left, bottom - 12, "p99 ms", "#c60"),
        text(width / 2, height - 6, "offered/s"),
    ]
    for rate, times in zip(offered, TIMES):
        parts.append(text(x(rate), height - bottom + 14, f"{times}x"))
    for part in (0.5, 1):
        parts.append(text(left - 6, y(top / 1.15 * part, top) + 4, f"{top / 1.15 * part:.0f}", "#06c", "end"))
        parts.append(text(width - left + 6, y(slow / 1.1 * part, slow) + 4, f"{slow / 1.1 * part:.0f}", "#c60", "start"))
    parts.append("</svg>\n")
    with open(file, "w") as f:
        f.write("\n".join(parts))


# ---- All together ------------------------------------------------------------------


def title(name, lines):
    return ["", f"## {name}", "", *lines]


def on_postgresql(build, folder, parts):
    handlers = house.write_handlers(os.path.join(folder, "sleep"), {"sleep.sql": SLEEP})
    env = {"WEIR_WORKERS": os.cpu_count(), "LOG_LEVEL": "warn", "DB_READ_POOL_MAX": CONNECTIONS}
    servers = postgres.Servers(replicas=0, bouncer=False)
    text, wanted, full = [], [], CONNECTIONS * 1000 / QUERY_MS
    try:
        weir = house.Weir(os.path.join(folder, "p"), os.path.join(build, "weir"), [handlers], env, database=servers.database())
        weir.start()
        try:
            if "goodput" in parts:
                lines, rows, full = goodput(build, weir, "/o/sleep", 4 * full, "goodput")
                text += title("Goodput", [*lines, "", "![goodput](overload-goodput.svg)"])
                wanted += rows
            if "tenants" in parts:
                lines, rows = tenants(build, weir, "/o/sleep", full)
                text += title("One who asks for most", lines)
                wanted += rows
            if "stall" in parts:
                lines, rows = stall(build, weir, servers)
                text += title("A database that stalls", lines)
                wanted += rows
        finally:
            weir.stop()
    finally:
        servers.stop()
    return text, wanted


def embedded(build, folder):
    handlers = house.write_handlers(os.path.join(folder, "handlers"), HANDLERS)
    env = {"WEIR_WORKERS": os.cpu_count(), "LOG_LEVEL": "warn"}
    weir = house.Weir(os.path.join(folder, "w"), os.path.join(build, "weir"), [handlers], env)
    weir.start()
    try:
        path = f"/o/work?n={rows_for(weir)}"
        lines, rows, _ = goodput(build, weir, path, 4 * os.cpu_count() * 1000 / QUERY_MS, "computing")
    finally:
        weir.stop()
    return title("Goodput of a query that computes", [*lines, "", "![goodput](overload-computing.svg)"]), rows


def measure(build, folder, parts):
    text, wanted = [], []
    if {"goodput", "tenants", "stall"} & set(parts):
        text, wanted = on_postgresql(build, folder, parts)
    if "computing" in parts:
        more, rows = embedded(build, folder)
        text += more
        wanted += [line.replace("| ", "| computing: ", 1) for line in rows]
    return text, wanted


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    build = os.path.realpath(parser.parse_args().build)
    bench.allow_many_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    parts = os.environ.get("PARTS", "goodput,tenants,stall,computing").split(",")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        text, wanted = measure(build, folder, parts)
    if not wanted:
        return
    report = [
        "# Overload",
        "",
        f"{platform.machine()}, {os.cpu_count()} CPUs for all servers and the load, Linux {platform.release()}; "
        f"{SECONDS:g} s each, through nginx, a query of {QUERY_MS:g} ms that nothing caches; load of the machine before: {load:.1f}.",
        "",
        "| measured | value | wanted | met |",
        "| --- | ---: | --- | --- |",
        *wanted,
        *text,
        "",
    ]
    with open(os.path.join(build, "bench", "overload.md"), "w") as f:
        f.write("\n".join(report))
    print("\n".join(report))


if __name__ == "__main__":
    main()
