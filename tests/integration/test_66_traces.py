"""Goal: what a request spent its time on arrives at a receiver of OTLP, over http and gRPC; and no receiver, whatever it does, is
felt by a request."""

import json
import os
import shutil
import subprocess
import threading
import time
import uuid

import pytest

import conftest
import otlp
import processes
import weir as house

SCHEMA = """
CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO things VALUES (1, 'one');
CREATE TABLE jots (id TEXT PRIMARY KEY, text TEXT NOT NULL CHECK (text <> 'bad'));
"""

WORK = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60000) SELECT count(*) AS n FROM c;\n"

READS = {
    "thing.sql": "-- GET /t/things/:id\n-- param id: integer\n-- returns: one\n-- cache: 1h\nSELECT id, name FROM things WHERE id = :id;\n",
    "plain.sql": "-- GET /t/plain\nSELECT id FROM things;\n",
    "missing.sql": "-- GET /t/missing\nSELECT id FROM not_there;\n",
    "short.sql": "-- GET /t/short\n-- timeout: 500ms\nSELECT id FROM things;\n",
    "tight.sql": "-- GET /t/tight\n-- limit: 1/h by ip\nSELECT id FROM things;\n",
    "hasty.sql": "-- POST /t/hasty\n-- timeout: 500ms\n-- body text: text\nINSERT INTO jots (id, text) VALUES (:idempotency_key, :text);\n",
    # About 20 ms here; what matters is only that many of them at once are too many.
    "work.sql": "-- GET /t/work\n-- limit: 100000/s\n" + WORK,
    "shared.sql": "-- GET /t/shared\n-- cache: 1s\n-- limit: 100000/s\n" + WORK,
    "jot.sql": "-- POST /t/jots\n-- body text: text\nINSERT INTO jots (id, text) VALUES (:idempotency_key, :text);\n",
    "jot_aside.sql": "-- POST /t/aside\n-- body text: text\n-- queue: TOPIC-aside\nINSERT INTO jots (id, text) VALUES (:idempotency_key, :text);\n",
    # Ten million rows are counted one by one: slow on any machine.
    "slow.sql": "-- GET /t/slow\n-- timeout: 60s\nWITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) AS c FROM n;\n",
}

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def traceparent(trace=TRACE, flags="01"):
    return f"00-{trace}-{PARENT}-{flags}"


def new_trace():
    return uuid.uuid4().hex


@pytest.fixture
def receiver(request):
    """Makes and starts a receiver of this test's own."""

    def make(start=True, **how):
        folder = conftest.new_folder()
        made = otlp.Receiver(folder, **how)

        def end():
            made.stop()
            shutil.rmtree(folder, ignore_errors=True)

        request.addfinalizer(end)
        return made.start() if start else made

    return make


@pytest.fixture
def traced(make_weir):
    """Makes and starts a weir that exports to a receiver."""

    def make(to, handlers=READS, schema=SCHEMA, how=None, **env):
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": to.url, "OTEL_METRICS_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": 50, **env}
        handlers = {name: text.replace("TOPIC-", "") for name, text in handlers.items()}
        return make_weir(handlers, settings, schema, **(how or {}))

    return make


def counter(weir, name, least, timeout=20):
    """The counter, once it is at least that."""
    return processes.wait_until(lambda: max(weir.counter(name), 0) >= least and weir.counter(name), f"{name} >= {least}", timeout)


# ---- What is told ------------------------------------------------------------


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
def test_a_read_is_told_step_by_step_and_a_cached_one_in_one_span(receiver, traced, grpc):
    to = receiver(grpc=grpc)
    weir = traced(to, OTEL_EXPORTER_OTLP_PROTOCOL="grpc" if grpc else "http/protobuf", OTEL_SERVICE_NAME="shop")
    headers = {"traceparent": traceparent(), "tracestate": "a=1,b=2", "User-Agent": "test/1"}
    reply = weir.get("/t/things/1?x=y", headers)
    assert reply.status == 200
    spans = to.trace(TRACE, ["GET /t/things/:id", "lane.wait", "recheck", "handle", "SELECT things"])
    root, handle, sql = (spans[n] for n in ("GET /t/things/:id", "handle", "SELECT things"))
    assert (root["kind"], root["parent"], root["state"], root["status"]) == (otlp.SERVER, PARENT, "a=1,b=2", 0)
    assert root["flags"] == 0x301 and sql["flags"] == 0x101, "only the caller is remote"
    said = root["attributes"]
    assert said["http.request.method"] == "GET" and said["http.response.status_code"] == 200
    assert said["http.route"] == "/t/things/:id" and said["url.path"] == "/t/things/1" and said["url.query"] == "x=y"
    assert said["url.scheme"] == "http" and said["network.protocol.version"] == "1.1" and said["server.port"] == weir.port
    assert said["user_agent.original"] == "test/1" and said["client.address"].startswith("10.")
    assert said["network.peer.address"] == "127.0.0.1"
    assert said["weir.source"] == "database" and said["weir.request.id"] == reply.header("X-Request-Id")
    assert handle["parent"] == root["span_id"] and sql["parent"] == handle["span_id"]
    assert sql["kind"] == otlp.CLIENT and sql["attributes"]["db.system.name"] == "sqlite"
    assert "?1" in sql["attributes"]["db.query.text"] and sql["attributes"]["db.collection.name"] == "things"
    assert spans["recheck"]["attributes"] == {"weir.cache.level": "l1", "weir.cache.result": "miss"}
    for span in spans.values():
        assert root["start"] <= span["start"] <= span["end"] <= root["end"]
    assert len({s["span_id"] for s in spans.values()}) == len(spans)

    again = new_trace()
    assert weir.get("/t/things/1", {"traceparent": traceparent(again)}).header("Cache-Status").startswith("weir; hit")
    hit = to.trace(again, ["GET /t/things/:id"])
    assert len(hit) == 1 and hit["GET /t/things/:id"]["attributes"]["weir.source"] == "l1"
    for request in to.requests():
        assert request["unknown"] == 0 and request["scopes"] == ["weir"]
        assert [r["service.name"] for r in request["resources"]] == ["shop"]
        assert request["headers"]["user-agent"].startswith("OTel-OTLP-Exporter-weir/")


def test_names_stand_for_many_requests_and_only_our_own_failures_are_errors(receiver, traced):
    to = receiver()
    weir = traced(to)
    traces = {}
    for what, ask in {
        "404": lambda h: weir.get("/nothing/here", h),
        "405": lambda h: weir.request("DELETE", "/t/plain", h),
        "odd": lambda h: weir.request("BREW", "/t/plain", h),
        "400": lambda h: weir.get("/t/things/x", h),
        "503": lambda h: weir.get("/t/missing", h),
    }.items():
        traces[what] = new_trace()
        ask({"traceparent": traceparent(traces[what])})
    names = {"404": "GET", "405": "DELETE", "odd": "HTTP", "400": "GET /t/things/:id", "503": "GET /t/missing"}
    found = {what: to.trace(traces[what], [name])[name] for what, name in names.items()}
    assert [found[w]["status"] for w in ("404", "405", "odd", "400")] == [0] * 4
    assert found["404"]["attributes"]["url.path"] == "/nothing/here"
    assert found["odd"]["attributes"]["http.request.method"] == "_OTHER"
    assert found["odd"]["attributes"]["http.request.method_original"] == "BREW"
    assert found["503"]["status"] == 2 and found["503"]["attributes"]["error.type"] == "503"
    sql = to.trace(traces["503"], ["SELECT not_there"])["SELECT not_there"]
    assert sql["status"] == 2


def test_a_write_is_told_to_its_end_in_the_trace_that_began_it(receiver, traced):
    to = receiver()
    weir = traced(to)
    reply = weir.post("/t/jots", {"text": "x"}, key="k1", headers={"traceparent": traceparent(), "tracestate": "a=1"})
    assert reply.status == 202
    spans = to.trace(TRACE, ["POST /t/jots", "wait.queue", "process"])
    root, process = spans["POST /t/jots"], spans["process"]
    assert (process["kind"], process["parent"], process["state"]) == (otlp.CONSUMER, root["span_id"], "a=1")
    said = process["attributes"]
    assert said["messaging.message.id"] == reply.header("Location").rsplit("/", 1)[1]
    assert said["messaging.operation.type"] == "process" and said["weir.outcome"] == "applied" and said["weir.endpoint"] == "jot"
    assert process["links"][0]["trace_id"] == TRACE and process["links"][0]["span_id"] == root["span_id"]
    batch = process["links"][1]
    spans = to.trace(batch["trace_id"], ["batch", "claim keys", "apply", "COMMIT"])
    assert spans["batch"]["span_id"] == batch["span_id"]
    assert {"trace_id": TRACE, "span_id": root["span_id"], "flags": 0x301} in spans["batch"]["links"]
    assert "INSERT INTO jots" in spans["apply"]["attributes"]["db.query.text"]
    assert to.requests()[-1]["resources"][0]["weir.process"] in ("consumer", "worker")

    dead = new_trace()
    weir.post("/t/jots", {"text": "bad"}, key="k2", headers={"traceparent": traceparent(dead)})
    process = to.trace(dead, ["process"])["process"]
    assert process["attributes"]["weir.outcome"] == "dead" and process["status"] == 2

    quiet = new_trace()
    weir.post("/t/jots", {"text": "y"}, key="k3", headers={"traceparent": traceparent(quiet, "00")})
    last = new_trace()
    weir.post("/t/jots", {"text": "z"}, key="k4", headers={"traceparent": traceparent(last)})
    to.trace(last, ["process"])
    assert not [s for s in to.spans() if s["trace_id"] == quiet], "the caller does not want it"


def test_redis_is_told_and_a_breaker_that_opens_is_an_event(receiver, traced, make_redis):
    to, redis = receiver(), make_redis()
    weir = traced(to, REDIS_URL=redis.url, REDIS_TIMEOUT="2s")
    trace = new_trace()
    assert weir.get("/t/things/1", {"traceparent": traceparent(trace)}).status == 200
    spans = to.trace(trace, ["fetch", "l2-get", "l2-put"])
    get = spans["l2-get"]
    assert spans["fetch"]["attributes"] == {"weir.cache.level": "l2", "weir.cache.result": "miss"}
    assert get["parent"] == spans["fetch"]["span_id"] and get["kind"] == otlp.CLIENT
    assert get["attributes"]["db.system.name"] == "redis" and get["attributes"]["db.operation.name"] == "EVALSHA"
    assert get["attributes"]["db.stored_procedure.name"] == "l2-get" and get["attributes"]["server.port"] == redis.port
    assert not any("things" in str(v) for v in get["attributes"].values()), "keys are nobody's business"
    redis.suspend()
    weir.get("/t/things/1", {"traceparent": traceparent(new_trace())})
    weir.write("INSERT INTO things VALUES (2, 'two');")
    stalled = new_trace()
    assert weir.get("/t/things/2", {"traceparent": traceparent(stalled)}).status == 200
    redis.resume()
    spans = to.wait_for(lambda s: s["events"], "an event")
    event = next(e for s in spans for e in s["events"])
    assert event["name"] == "breaker" and event["attributes"]["weir.breaker.name"] == "redis-1"
    assert (event["attributes"]["weir.breaker.from"], event["attributes"]["weir.breaker.to"]) == ("closed", "suspended")
    assert any(s["attributes"].get("db.system.name") == "redis" and s["status"] == 2 for s in spans), "whichever call met it"


def test_postgresql_is_told_with_its_server_and_sqlstate(receiver, traced, postgres):
    to = receiver()
    schema = "CREATE TABLE things (id bigint PRIMARY KEY, name text); INSERT INTO things VALUES (1, 'one');"
    handlers = {
        "thing.sql": READS["thing.sql"],
        "fails.sql": "-- GET /t/fails\n-- param n: integer\nSELECT 1 / :n AS n FROM things;\n",
        "slow.sql": "-- GET /t/slow\n-- returns: one\nSELECT CAST(pg_sleep(0.3) AS text) AS nothing FROM things;\n",
    }
    database = postgres.database(schema)
    # Two workers and one connection: one of them waits for it in the pool, the others before the lane.
    weir = traced(to, handlers, None, how={"database": database}, DB_READ_POOL_MAX=1, WEIR_WORKERS=2)
    ok, bad = new_trace(), new_trace()
    assert weir.get("/t/things/1", {"traceparent": traceparent(ok)}).status == 200
    assert weir.get("/t/fails?n=0", {"traceparent": traceparent(bad)}).status >= 400
    sql = to.trace(ok, ["SELECT things", "connect"])["SELECT things"]
    assert sql["attributes"]["db.system.name"] == "postgresql" and sql["attributes"]["db.namespace"]
    assert sql["attributes"]["server.address"] and "$1" in sql["attributes"]["db.query.text"]
    sql = to.trace(bad, ["SELECT things"])["SELECT things"]
    assert sql["attributes"]["db.response.status_code"] == "22012" and sql["attributes"]["error.type"] == "22012"
    assert sql["status"] == 2
    house.all_at_once(12, lambda i: weir.fcgi("GET", "/t/slow"))
    to.wait_for(lambda s: s["name"] == "pool.wait", "a wait for the only connection")


def test_kafka_is_told_from_the_producer_to_the_consumer(receiver, traced, broker):
    to = receiver()
    topic = "t-" + uuid.uuid4().hex[:10]
    kafka = {"KAFKA_BROKERS": broker.brokers, "KAFKA_TOPIC": topic, "KAFKA_GROUP": topic}
    weir = traced(to, {"jot.sql": READS["jot.sql"]}, **kafka)
    assert weir.post("/t/jots", {"text": "x"}, key="k1", headers={"traceparent": traceparent(), "tracestate": "a=1"}).status == 202
    spans = to.trace(TRACE, ["POST /t/jots", f"send {topic}", f"process {topic}"], timeout=60)
    root, send, process = (spans[n] for n in ("POST /t/jots", f"send {topic}", f"process {topic}"))
    assert (send["kind"], send["parent"]) == (otlp.PRODUCER, root["span_id"])
    assert (process["kind"], process["parent"]) == (otlp.CONSUMER, send["span_id"])
    assert process["links"][0] == {"trace_id": TRACE, "span_id": send["span_id"], "flags": process["links"][0]["flags"]}
    assert send["attributes"]["messaging.system"] == process["attributes"]["messaging.system"] == "kafka"
    assert send["attributes"]["messaging.destination.name"] == topic and process["state"] == "a=1"


def test_the_variables_are_shown_but_for_their_secrets(make_weir):
    weir = make_weir(READS, {"OTEL_SERVICE_NAME": "shop"}, SCHEMA, start=False)
    with open(os.path.join(weir.folder, ".env"), "w") as f:
        f.write("OTEL_EXPORTER_OTLP_HEADERS=key=s3cret\nOTEL_BSP_SCHEDULE_DELAY=soon\n")
    said = weir.command("config")
    assert said.returncode == 0 and "s3cret" not in said.stdout + said.stderr
    assert "OTEL_SERVICE_NAME = shop  (environment)" in said.stdout
    assert "OTEL_EXPORTER_OTLP_HEADERS = ***" in said.stdout
    assert 'OTEL_BSP_SCHEDULE_DELAY is "soon", expected a whole number' in said.stderr
    found = {v["name"]: v for v in json.loads(weir.command("config", "--json").stdout)}
    assert found["OTEL_BSP_SCHEDULE_DELAY"]["value"] == "soon" and found["OTEL_BSP_SCHEDULE_DELAY"]["origin"].endswith(".env:2")


# ---- Which are told ----------------------------------------------------------


def test_a_caller_decides_and_what_is_slow_or_failed_is_kept_all_the_same(receiver, traced):
    to = receiver()
    weir = traced(to, OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0", WEIR_SLOW="50ms")
    names = {"wanted": ("/t/plain", "01"), "unwanted": ("/t/plain", "00"), "failed": ("/t/missing", "00"), "slow": ("/t/slow", "00")}
    traces = {what: new_trace() for what in names}
    for what, (path, flags) in names.items():
        weir.get(path, {"traceparent": traceparent(traces[what], flags)})
    assert weir.get("/t/plain").status == 200  # of nobody's trace: the ratio is 0
    slow = to.trace(traces["slow"], ["GET /t/slow"])["GET /t/slow"]
    failed = to.trace(traces["failed"], ["GET /t/missing", "handle"])["GET /t/missing"]
    to.trace(traces["wanted"], ["GET /t/plain"])
    assert slow["attributes"]["weir.kept"] == "slow" and failed["attributes"]["weir.kept"] == "failed"
    assert slow["flags"] & 1 == 0, "it is told as it was passed on"
    assert {s["trace_id"] for s in to.spans()} == {traces["slow"], traces["failed"], traces["wanted"]}


def test_what_is_shed_before_any_work_is_kept_although_nobody_sampled_it(receiver, traced):
    to = receiver()
    weir = traced(to, OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0", WEIR_SLOW="60s")
    shed, served, limited = new_trace(), new_trace(), new_trace()
    late = {"REQUEST_START": f"{time.time() - 5:.3f}"}  # which is all the time that it has
    assert weir.fcgi("GET", "/t/short", {"traceparent": traceparent(served, "00")}).status == 200
    assert weir.fcgi("GET", "/t/short", {"traceparent": traceparent(shed, "00")}, **late).status == 503
    often = [weir.fcgi("GET", "/t/tight", {"traceparent": traceparent(limited, "00")}, REMOTE_ADDR="10.8.8.8") for _ in range(2)]
    assert [reply.status for reply in often] == [200, 429]
    span = to.trace(shed, ["GET /t/short"])["GET /t/short"]
    found = span["attributes"]
    assert (found["weir.kept"], found["weir.shed.reason"]) == ("shed", "deadline")
    assert (found["http.response.status_code"], found["error.type"], found["http.route"]) == (503, "503", "/t/short")
    assert span["parent"] == PARENT and span["flags"] & 1 == 0
    write = new_trace()
    headers = {"traceparent": traceparent(write, "00"), "Content-Type": "application/json", "Idempotency-Key": "late"}
    assert weir.fcgi("POST", "/t/hasty", headers, b'{"text":"x"}', **late).status == 503
    assert to.trace(write, ["POST /t/hasty"])["POST /t/hasty"]["attributes"]["weir.kept"] == "shed"
    assert {s["trace_id"] for s in to.spans()} == {shed, write}, "served, and limited (429), are as many as the sampler says"


def test_in_a_crowd_every_request_that_is_shed_is_kept_and_none_that_is_served(receiver, traced):
    to = receiver()
    env = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0", "WEIR_SLOW": "60s"}
    weir = traced(to, WEIR_WORKERS=1, WEIR_THREADS=2, **env)
    answers, over = [], threading.Event()

    def client(n):
        while not over.is_set():
            trace = new_trace()
            reply = weir.get(f"/t/{'work' if n % 2 else 'shared'}", {"traceparent": traceparent(trace, "00")}, client="192.0.2.1")
            answers.append((trace, reply.status))
            if reply.status == 503:
                time.sleep(1)  # no more than may be kept in a second

    threads = [threading.Thread(target=client, args=(n,)) for n in range(70)]
    for thread in threads:
        thread.start()
    try:
        processes.wait_until(lambda: sum(status == 503 for _, status in answers) > 20, "that it is too much", 60)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert {status for _, status in answers} == {200, 503}
    shed = {trace for trace, status in answers if status == 503}
    kept = lambda: {s["trace_id"] for s in to.spans() if s["attributes"].get("weir.kept") == "shed"}  # noqa: E731
    processes.wait_until(lambda: kept() >= shed, "all that was shed")
    assert kept() == {s["trace_id"] for s in to.spans()} == shed
    assert weir.counter("traces_not_kept") == 0
    assert sum(s["attributes"].get("weir.shed.reason") is not None for s in to.spans()) == weir.counter("shed")


def test_without_tracecontext_among_the_propagators_no_trace_is_continued(receiver, traced):
    to = receiver()
    weir = traced(to, OTEL_PROPAGATORS="none")
    weir.get("/t/plain", {"traceparent": traceparent()})
    spans = to.wait_for(lambda s: s["name"] == "GET /t/plain", "the request")
    assert all(s["trace_id"] != TRACE and (s["parent"] == "" or s["kind"] != otlp.SERVER) for s in spans)


def thread_names(pid):
    names = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as f:
            names.append(f.read().strip())
    return names


def test_without_a_receiver_in_the_settings_there_is_no_thread_and_no_work(make_weir):
    weir = make_weir(READS, {"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, SCHEMA)
    assert weir.get("/t/things/1").status == 200
    other = make_weir(READS, {"OTEL_TRACES_EXPORTER": "otlp"}, SCHEMA)
    assert other.get("/t/things/1").status == 200

    def exporters(of):
        return [thread_names(pid).count("weir-traces") for pid in of.workers()]

    processes.wait_until(lambda: exporters(other) == [1, 1], "an exporter in each worker")
    assert exporters(weir) == [0, 0]
    assert weir.counter("spans_exported") + weir.counter("spans_dropped") + weir.counter("spans_lost") == 0


# ---- How they are sent -------------------------------------------------------


def make_certificates(folder):
    """An authority, and certificates of it for 127.0.0.1 and for a client."""

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, cwd=folder, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority")
    for name in ("server", "client"):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        with open(os.path.join(folder, "names"), "w") as f:
            f.write("subjectAltName=IP:127.0.0.1\n")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    return lambda name: os.path.join(folder, name)


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
def test_tls_headers_and_gzip_are_as_the_variables_say(receiver, traced, new_state, grpc):
    at = make_certificates(new_state)
    to = receiver(grpc=grpc, tls=(at("server.pem"), at("server.key")), client_ca=None if grpc else at("ca.pem"))
    how = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if grpc else "http/protobuf",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20s3%2Ccret,x-one=1",
    }
    trusted = {"OTEL_EXPORTER_OTLP_CERTIFICATE": at("ca.pem")}
    client = {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": at("client.pem"), "OTEL_EXPORTER_OTLP_CLIENT_KEY": at("client.key")}
    stranger = traced(to, OTEL_EXPORTER_OTLP_TIMEOUT=1500, **how)
    weir = traced(to, **how, **trusted, **client)
    trace, unheard = new_trace(), new_trace()
    stranger.get("/t/plain", {"traceparent": traceparent(unheard)})
    weir.get("/t/plain", {"traceparent": traceparent(trace)})
    to.trace(trace, ["GET /t/plain"])
    trace = new_trace()
    weir.get("/t/plain", {"traceparent": traceparent(trace)})
    to.trace(trace, ["GET /t/plain"])  # over the connection that was kept
    request = to.requests()[0]
    assert request["gzip"] or grpc  # gRPC's library does not tell
    assert request["headers"]["authorization"] == "Bearer s3,cret" and request["headers"]["x-one"] == "1"
    counter(stranger, "spans_lost", 1)
    assert unheard not in {s["trace_id"] for s in to.spans()}
    assert "s3,cret" not in weir.log() + stranger.log() and "s3%2Ccret" not in weir.log() + stranger.log()


def test_batches_are_no_larger_than_said_and_never_two_at_once(receiver, traced):
    to = receiver()
    weir = traced(to, OTEL_BSP_MAX_EXPORT_BATCH_SIZE=3, OTEL_BSP_SCHEDULE_DELAY=60000, WEIR_WORKERS=1)
    house.all_at_once(8, lambda i: [weir.get("/t/plain") for _ in range(10)])
    processes.wait_until(lambda: sum(s["name"] == "GET /t/plain" for s in to.spans()) >= 78, "all but a batch that is not full")
    assert max(len(r["spans"]) for r in to.requests()) == 3
    assert max(r["at_once"] for r in to.requests()) == 1


AGAIN = [{"status": 503, "headers": {"Retry-After": "0"}}, {"status": 429, "headers": {"Retry-After": "0"}}]
GRPC_AGAIN = [{"code": 14}]
RETRY_INFO = "CAgaMgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIGCgQQwIQ9"  # 1 ms


@pytest.mark.parametrize("grpc, answers", [(False, AGAIN), (True, GRPC_AGAIN), (True, [{"code": 8, "details": RETRY_INFO}])])
def test_what_a_receiver_cannot_take_now_is_sent_again_as_it_was(receiver, traced, grpc, answers):
    to = receiver(grpc=grpc)
    weir = traced(to, OTEL_EXPORTER_OTLP_PROTOCOL="grpc" if grpc else "http/protobuf", WEIR_WORKERS=1)
    counter(weir, "spans_exported", 1)  # of its start
    before = len(to.requests())
    to.answer(answers)
    trace = new_trace()
    weir.get("/t/plain", {"traceparent": traceparent(trace)})
    requests = processes.wait_until(lambda: (to.requests()[before:] if len(to.requests()) > before + len(answers) else None), "the next try")
    tries = [r["spans"] for r in requests if any(s["trace_id"] == trace for s in r["spans"])]
    assert len(tries) == len(answers) + 1 and all(t == tries[0] for t in tries)
    assert weir.counter("spans_lost") == 0


@pytest.mark.parametrize(
    "grpc, answer, lost",
    [
        (False, {"status": 400}, 1),
        (False, {"status": 500}, 1),
        (False, {"rejected": 1}, 1),
        (False, {"body_bytes": 5 << 20}, 1),
        (True, {"code": 3}, 1),
        (True, {"code": 8}, 1),
        (True, {"rejected": 1}, 1),
    ],
    ids=repr,
)
def test_what_a_receiver_refuses_is_counted_and_not_sent_again(receiver, traced, grpc, answer, lost):
    to = receiver(grpc=grpc)
    weir = traced(to, OTEL_EXPORTER_OTLP_PROTOCOL="grpc" if grpc else "http/protobuf", WEIR_WORKERS=1)
    counter(weir, "spans_exported", 1)
    exported, before = weir.counter("spans_exported"), len(to.requests())
    to.answer([answer])
    assert weir.get("/nothing").status == 404  # one span
    assert counter(weir, "spans_lost", lost) == lost
    assert weir.counter("spans_exported") == exported
    assert weir.get("/nothing").status == 404
    counter(weir, "spans_exported", exported + 1)
    assert len(to.requests()) == before + 2 and weir.counter("spans_lost") == lost


# ---- What a receiver does to requests: nothing --------------------------------


def ask_many(weir, count):
    replies = house.all_at_once(4, lambda i: [weir.get("/t/things/1").status for _ in range(count // 4)])
    assert {status for some in replies for status in some} == {200}


def test_a_receiver_that_stalls_is_not_felt_and_its_drops_are_counted(receiver, traced):
    to = receiver()
    weir = traced(to, OTEL_BSP_MAX_QUEUE_SIZE=20, OTEL_BSP_MAX_EXPORT_BATCH_SIZE=10, OTEL_EXPORTER_OTLP_TIMEOUT=600000, WEIR_WORKERS=1)
    ask_many(weir, 4)
    counter(weir, "spans_exported", 5)
    to.freeze()
    began = time.monotonic()
    ask_many(weir, 400)
    took = time.monotonic() - began
    assert took < 60, "600 s, had one of them waited for the receiver"
    assert counter(weir, "spans_dropped", 300) <= 400
    to.thaw()
    trace = new_trace()

    def arrives():  # once what waited has made room
        weir.get("/t/plain", {"traceparent": traceparent(trace)})
        return any(s["trace_id"] == trace for s in to.spans())

    processes.wait_until(arrives, "spans again", 30)
    to.freeze()
    ask_many(weir, 4)
    weir.stop()  # and no stop waits for it


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
def test_a_receiver_that_is_dead_is_said_once_and_found_again(receiver, traced, grpc):
    to = receiver(start=False, grpc=grpc)
    weir = traced(to, OTEL_EXPORTER_OTLP_PROTOCOL="grpc" if grpc else "http/protobuf", OTEL_EXPORTER_OTLP_TIMEOUT=300, WEIR_WORKERS=1)
    for i in range(4):
        ask_many(weir, 20)
        counter(weir, "spans_lost", 20 * (i + 1))
    said = [line for line in weir.log_lines() if line["event"] == "otlp_lost" and line["what"] == "traces"]
    assert len(said) == len({line["pid"] for line in said}) and to.url in said[0]["url"]
    to.start()
    trace = new_trace()
    weir.get("/t/plain", {"traceparent": traceparent(trace)})
    to.trace(trace, ["GET /t/plain"])
    assert any(line["event"] == "otlp_arrives_again" for line in weir.log_lines())


# ---- Metrics -----------------------------------------------------------------


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
def test_the_hosts_metrics_are_sent_once_for_all_its_processes(receiver, make_weir, grpc):
    to = receiver(grpc=grpc)
    env = {
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": to.url,
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc" if grpc else "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": 100,
    }
    weir = make_weir(READS, env, SCHEMA)
    ask_many(weir, 40)

    def answered(request):
        points = request["metrics"].get("weir_requests", {"points": []})["points"]
        return sum(p["value"] for p in points if p["attributes"]["endpoint"] == "thing")

    def told(least):
        requests = to.requests("etric")
        return requests if requests and answered(requests[-1]) >= least else None

    requests = processes.wait_until(lambda: told(40), "40 requests told")
    assert all(r["unknown"] == 0 for r in requests)
    last = requests[-1]["metrics"]
    ok = next(p for p in last["weir_requests"]["points"] if p["attributes"] == {"endpoint": "thing", "code": "200"})
    assert last["weir_requests"]["kind"] == "sum" and last["weir_requests"]["cumulative"] and last["weir_requests"]["unit"] == "{requests}"
    assert 0 < ok["start"] < ok["time"]
    took = last["weir_request_duration_seconds"]
    assert (took["kind"], took["cumulative"], took["unit"]) == ("histogram", True, "s")
    took = next(p for p in took["points"] if p["attributes"] == {"endpoint": "thing"})
    assert len(took["counts"]) == len(took["bounds"]) + 1 and sum(took["counts"]) == took["count"] >= 40 and took["sum"] > 0
    assert last["weir_cache_max_bytes"]["kind"] == "gauge" and last["weir_cache_max_bytes"]["unit"] == "By"
    assert last["weir_cache_max_bytes"]["points"][0]["value"] > 1 << 20
    text = weir.admin("/metrics").body.decode()
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert {name.removesuffix("_total") for name in families} == set(last), "what /metrics has, and no other"
    senders = {r["resources"][0]["service.instance.id"] for r in requests}
    assert len(senders) == 1, "the lock's holder, and nobody else"
    counts = [answered(r) for r in requests]
    assert counts == sorted(counts)
    holder = requests[-1]["resources"][0]["process.pid"]
    os.kill(holder, 9)
    heirs = processes.wait_until(
        lambda: {r["resources"][0]["process.pid"] for r in to.requests("etric")} - {holder}, "another process that sends them"
    )
    assert len(heirs) == 1
    assert to.requests() == [], "no traces"
