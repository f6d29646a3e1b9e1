"""Goal: /metrics is what a real scraper takes, in both formats, at any moment, and never goes back."""

import gzip
import itertools
import os
import re
import signal
import subprocess
import threading
import time

import fcgi
import metrics
import pytest
import weir as house
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as prometheus

HANDLERS = {
    "nap.sql": """-- GET /t/nap/:id
-- param id: integer
-- returns: one
-- limit: 1000000/s
SELECT :id AS id;
""",
    "once.sql": """-- GET /t/once
-- returns: one
-- limit tight: 1/h by ip
-- limit watched: 1/h by ip, observe
SELECT 1 AS one;
""",
    "copy.sql": """-- GET /t/copy
-- returns: one
-- cache: 1h
-- limit: 1000000/s
SELECT 1 AS one;
""",
    "record.sql": """-- POST /t/record
-- body n: integer
-- idempotency: optional
INSERT INTO records (n) VALUES (:n);
""",
}
SCHEMA = "CREATE TABLE records (n INTEGER);"
ENV = {"WEIR_WORKERS": "2"}

ADDRESSES = itertools.count(1)

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"


def scrape(weir, accept=None, encoding=None, method="GET"):
    headers = [("Accept", accept)] if accept else []
    headers += [("Accept-Encoding", encoding)] if encoding else []
    return fcgi.request(weir.admin_listen, method, "/metrics", headers, timeout=10)


def samples(weir):
    return metrics.parse(scrape(weir).body.decode())


def use_everything(weir):
    for n in range(5):
        assert weir.fcgi("GET", f"/t/nap/{n}").status == 200
    for _ in range(3):
        assert weir.fcgi("GET", "/t/copy").status == 200
    same = {"REMOTE_ADDR": f"10.9.9.{next(ADDRESSES)}"}
    assert [weir.fcgi("GET", "/t/once", **same).status for _ in range(2)] == [200, 429]
    assert weir.fcgi("GET", "/t/nobody/asked?for=this").status == 404
    assert weir.fcgi_post("/t/record", {"n": 1}).status == 202


def test_the_text_is_one_that_the_parsers_of_prometheus_take(weir):
    use_everything(weir)
    reply = scrape(weir)
    assert reply.status == 200 and dict(reply.headers)["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(prometheus.text_string_to_metric_families(reply.body.decode()))
    assert len(families) > 50
    names = [f.name for f in families]
    assert len(set(names)) == len(names), "a family stands in one piece"
    tool = subprocess.run(["promtool", "check", "metrics"], input=reply.body, capture_output=True)
    assert tool.returncode == 0 and tool.stderr == b"", tool.stderr.decode()


def test_openmetrics_is_one_that_its_strict_parser_takes(weir):
    use_everything(weir)
    reply = scrape(weir, OPENMETRICS)
    assert dict(reply.headers)["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert reply.body.endswith(b"# EOF\n")
    families = {f.name: f for f in openmetrics.text_string_to_metric_families(reply.body.decode())}
    assert families["weir_requests"].type == "counter" and families["weir_build"].type == "info"
    assert families["weir_request_duration_seconds"].unit == "seconds"


@pytest.mark.parametrize(
    "accept, wanted",
    [
        (None, "text/plain"),
        ("*/*", "text/plain"),
        ("text/html", "text/plain"),
        (OPENMETRICS, "application/openmetrics-text"),
        ("application/openmetrics-text;q=0.2,text/plain;version=0.0.4;q=0.9", "text/plain"),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", "text/plain"),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.9", "application/openmetrics-text"),
    ],
)
def test_the_format_is_what_the_scraper_likes_best(weir, accept, wanted):
    assert dict(scrape(weir, accept).headers)["Content-Type"].startswith(wanted)


def test_a_sampled_request_is_the_exemplar_of_its_bucket(weir):
    trace = "0af7651916cd43dd8448eb211c80319c"
    parent = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert weir.fcgi("GET", "/t/nap/1", parent).status == 200
    text = scrape(weir, OPENMETRICS).body.decode()
    found = [
        s.exemplar
        for f in openmetrics.text_string_to_metric_families(text)
        for s in f.samples
        if s.exemplar and s.labels.get("endpoint") == "nap"
    ]
    assert trace in [x.labels["trace_id"] for x in found]
    assert all(abs(float(x.timestamp) - time.time()) < 600 and 0 < x.value < 20 for x in found)
    assert trace not in scrape(weir).body.decode(), "text 0.0.4 has no place for it"


def test_each_answer_is_counted_by_endpoint_and_status_and_no_path_is_a_label(weir):
    before = samples(weir)
    use_everything(weir)
    after = samples(weir)

    def grown(name, **labels):
        return metrics.total(after, name, **labels) - metrics.total(before, name, **labels)

    assert grown("weir_requests_total", endpoint="nap", code="200") == 5
    assert grown("weir_requests_total", endpoint="once", code="429") + grown("weir_requests_total", endpoint="once", code="200") == 2
    assert grown("weir_requests_total", endpoint="none", code="404") == 1
    assert grown("weir_request_duration_seconds_count", endpoint="nap") == 5
    assert grown("weir_requests_served_total", endpoint="copy", source="l1") >= 2
    assert grown("weir_writes_accepted_total") == 1
    assert not any("nobody" in value for _, labels, _ in after for value in labels.values())


def test_limits_are_counted_by_policy_and_result(weir):
    before, same = samples(weir), {"REMOTE_ADDR": "10.8.8.8"}
    assert [weir.fcgi("GET", "/t/once", **same).status for _ in range(3)] == [200, 429, 429]
    after = samples(weir)

    def grown(**labels):
        return metrics.total(after, "weir_limit_decisions_total", **labels) - metrics.total(
            before, "weir_limit_decisions_total", **labels
        )

    assert (grown(policy="tight", result="allowed"), grown(policy="tight", result="refused")) == (1, 2)
    assert grown(policy="watched", result="allowed") == 1


def test_what_has_a_limit_shows_both(weir):
    found = {name for name, _, _ in samples(weir)}
    for value, limit in [
        ("weir_workers", "weir_workers_max"),
        ("weir_lane_threads_busy", "weir_lane_threads_max"),
        ("weir_lane_queue", "weir_lane_queue_max"),
        ("weir_spool_bytes", "weir_spool_max_bytes"),
        ("weir_cache_bytes", "weir_cache_max_bytes"),
        ("weir_members", "weir_members_max"),
        ("weir_slots", "weir_slots_max"),
        ("weir_requests_in_hand", "weir_requests_in_hand_max"),
    ]:
        assert {value, limit} <= found
    assert metrics.total(samples(weir), "weir_workers_max") == 2


# Gauges that nothing bounds: states, shares, ages, what is learnt or told of other hosts, and what a file system or a client bounds.
UNBOUNDED = {
    "weir_recent_duration_seconds", "weir_connections", "weir_limit_hosts", "weir_cache_entries", "weir_breaker_state",
    "weir_breaker_admitted_ratio", "weir_spool_events", "weir_spool_oldest_seconds", "weir_spool_keys", "weir_consumer_state",
    "weir_consumer_lag", "weir_consumer_lag_seconds", "weir_desired_capacity_ratio", "weir_refused_ratio", "weir_lane_utilisation_ratio",
    "process_start_time_seconds",
}  # fmt: skip


def limits_of(name):
    """What the limit of a gauge may be called."""
    unit = re.search(r"_bytes$", name)
    stem = re.sub(r"_(bytes|busy|running|used)$", "", name)
    return {f"{stem}_max_bytes"} if unit else {f"{name}_max", f"{stem}_max"}


def test_every_gauge_of_the_table_has_its_limit_or_none_at_all():
    with open(os.path.join(house.ROOT, "app", "telemetry", "metrics_keys.inc")) as f:
        gauges = set(re.findall(r'"((?:weir|process)_[a-z0-9_]+)", GAUGE', f.read()))
    limits = {name for name in gauges if re.search(r"_(max|max_bytes|limit)$", name)}
    values = gauges - limits - UNBOUNDED
    assert UNBOUNDED <= gauges, UNBOUNDED - gauges
    assert [name for name in sorted(values) if not limits_of(name) & limits] == []
    of_some = set().union(*(limits_of(name) for name in values)) | {"weir_database_reads_limit"}
    assert limits <= of_some, "a limit without its value"


def test_what_is_used_is_within_what_may_be(weir):
    use_everything(weir)
    found = samples(weir)
    value = lambda name, **labels: metrics.total(found, name, **labels)  # noqa: E731
    assert {labels["target"] for name, labels, _ in found if name == "weir_retry_budget_max"} == {"database", "redis"}
    assert value("weir_retry_budget_max", target="redis") == 100 and value("weir_retry_budget_used", target="redis") == 0
    threads = value("weir_lane_threads_max")
    assert (value("weir_lane_bodies_max"), value("weir_cache_refreshes_max")) == (threads / 2, threads / 4)
    tables = {labels["table"] for name, labels, _ in found if name == "weir_slots"}
    assert tables == {"limiter", "flights", "keys", "leases", "endpoints", "policies", "breakers"}
    assert all(value("weir_slots", table=t) <= value("weir_slots_max", table=t) for t in tables)
    assert value("weir_slots", table="endpoints") >= 4 and value("weir_slots", table="policies") >= 2


# What only a host has that has Redis, Kafka or PostgreSQL, or where such a thing has happened.
NOT_EVERYWHERE = {
    "weir_limit_hosts", "weir_database_connections", "weir_database_connections_max", "weir_downstream_calls_total",
    "weir_downstream_duration_seconds", "weir_database_reads_running", "weir_database_reads_limit", "weir_database_reads_max", "weir_redis_calls_total",
    "weir_redis_duration_seconds", "weir_breaker_state", "weir_breaker_opened_total", "weir_breaker_changes_total", "weir_breaker_admitted_ratio",
    "weir_forwarded_total", "weir_forwarder_restarts_total", "weir_forwarder_in_flight", "weir_forwarder_in_flight_max",
    "weir_forwarder_in_flight_bytes", "weir_forwarder_in_flight_max_bytes", "weir_spans_waiting", "weir_spans_waiting_max",
}  # fmt: skip


def test_every_family_of_the_table_is_told(weir):
    use_everything(weir)
    with open(os.path.join(house.ROOT, "app", "telemetry", "metrics_keys.inc")) as f:
        known = set(re.findall(r'"((?:weir|process)_[a-z0-9_]+)"', f.read()))
    told = set(re.findall(r"^# TYPE (\S+)", scrape(weir).body.decode(), re.MULTILINE))
    assert told <= known and known - told <= NOT_EVERYWHERE, known - told


def test_the_same_is_printed_where_no_supervisor_is_asked(weir):
    here = {name for name, _, _ in weir.metrics()}
    there = {name for name, _, _ in samples(weir)}
    assert here == there


def test_it_is_packed_for_who_says_so(weir):
    packed, plain = scrape(weir, encoding="gzip, deflate"), scrape(weir, encoding="gzip;q=0, identity")
    assert dict(packed.headers)["Content-Encoding"] == "gzip" and "Content-Encoding" not in dict(plain.headers)
    text = gzip.decompress(packed.body).decode()
    assert {n for n, _, _ in metrics.parse(text)} == {n for n, _, _ in metrics.parse(plain.body.decode())}
    assert len(packed.body) * 4 < len(plain.body)


def test_head_is_answered_without_a_body_and_writing_is_refused(weir):
    assert scrape(weir, method="HEAD").body == b""
    assert scrape(weir, method="POST").status == 405


def test_one_number_tells_how_much_capacity_is_wanted(weir):
    found = [(labels, value) for name, labels, value in samples(weir) if name == "weir_desired_capacity_ratio"]
    assert len(found) == 1
    assert found[0][0]["reason"] in ("lanes", "shed", "lag") and 0.1 <= found[0][1] <= 4


def counters_of(text):
    return {
        (name, tuple(sorted(labels.items()))): value
        for name, labels, value in metrics.parse(text)
        if name.endswith(("_total", "_count", "_sum", "_bucket"))
    }


def test_no_counter_ever_falls_while_workers_are_killed_under_load(weir):
    ends = time.monotonic() + 8
    served = []

    def load():
        n = 0
        while time.monotonic() < ends:
            try:
                served.append(weir.fcgi("GET", f"/t/nap/{n}", timeout=5).status)
            except (OSError, AssertionError, fcgi.Closed):
                pass
            n += 1

    threads = [threading.Thread(target=load) for _ in range(4)]
    for t in threads:
        t.start()
    last, reads, killed = {}, 0, 0
    while time.monotonic() < ends:
        reply = scrape(weir)
        assert reply.status == 200
        now = counters_of(reply.body.decode())
        fallen = {key: (value, now.get(key)) for key, value in last.items() if now.get(key, -1) < value}
        assert not fallen
        last, reads = now, reads + 1
        if reads % 10 == 0:
            workers = [m["pid"] for m in weir.status()["members"] if m["kind"] == "worker"]
            if workers:
                os.kill(workers[killed % len(workers)], signal.SIGKILL)
                killed += 1
    for t in threads:
        t.join()
    assert killed >= 3 and reads >= 30 and len(served) > 100
    assert last[("weir_worker_spawns_total", ())] >= 2 + killed - 1


def test_it_answers_while_every_worker_is_stopped(weir):
    workers = [m["pid"] for m in weir.status()["members"] if m["kind"] == "worker"]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        reply = scrape(weir)
        assert reply.status == 200 and b"weir_requests_total" in reply.body
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
