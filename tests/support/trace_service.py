"""The service that W3C's official trace-context harness asks for, in front of a real nginx and weir.

weir calls nobody over HTTP: what it passes on goes with a write, through the queue, to whoever applies it.  So this service
sends each call of the harness as a write, with the very header lines that came, and calls back with the context that arrived at
the other end: the parent of the span that applies the event, as a receiver of OTLP sees it.  It lives in the tests; no weir
routes it.

    python3 tests/support/trace_service.py --binary build/weir --port 5000
    SPEC_LEVEL=2 python3 .../trace-context/test/test.py http://127.0.0.1:5000/test
"""

import argparse
import http.server
import itertools
import json
import os
import shutil
import tempfile
import urllib.request

import otlp
import processes
import weir as house

HANDLERS = {
    "traced.sql": """-- POST /api/v1/traced
-- A write that is there to carry its trace.
-- limit: 100000/s
INSERT INTO traced (id) VALUES (:idempotency_key);
"""
}
SCHEMA = "CREATE TABLE traced (id TEXT PRIMARY KEY);"


def settings(receiver):
    """Every trace is exported, whatever its caller says of it, and soon."""
    return {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.url}/v1/traces",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_BSP_SCHEDULE_DELAY": 50,
    }


class TraceService:
    """Sends header lines through a weir, and tells what came out."""

    keys = itertools.count(1)

    def __init__(self, weir, receiver):
        self.weir = weir
        self.receiver = receiver

    def send(self, lines):
        """A write with these (name, value) lines; returns its event id."""
        headers = {}
        for name, value in lines:
            headers.setdefault(name, []).append(value)
        reply = self.weir.post("/api/v1/traced", {}, key=f"k{next(self.keys)}", headers=headers)
        assert reply.status == 202, reply
        return reply.header("Location").rsplit("/", 1)[1]

    def wait(self, events, timeout=20):
        """What each of the events carried to who applied it: {event id: span}."""

        def found():
            spans = {s["attributes"].get("messaging.message.id"): s for s in self.receiver.spans() if s["kind"] == otlp.CONSUMER}
            return spans if all(e in spans for e in events) else None

        return processes.wait_until(found, "the spans of all events", timeout)

    @staticmethod
    def headers_of(span):
        headers = {"traceparent": f"00-{span['trace_id']}-{span['parent']}-{span['flags'] & 3:02x}"}
        if span["state"]:
            headers["tracestate"] = span["state"]
        return headers

    def passed_on(self, lines):
        event = self.send(lines)
        return self.headers_of(self.wait([event])[event])


def handler_of(service):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            calls = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            lines = [(k, v) for k, v in self.headers.items() if "trace" in k.lower()]
            for call in calls:
                headers = {"Content-Type": "application/json", **service.passed_on(lines)}
                request = urllib.request.Request(call["url"], json.dumps(call["arguments"]).encode(), headers)
                urllib.request.urlopen(request, timeout=10).close()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=os.path.join(house.ROOT, "build", "weir"))
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    os.makedirs(os.path.join(house.ROOT, "build", "test"), exist_ok=True)
    folder = tempfile.mkdtemp(prefix="", dir=os.path.join(house.ROOT, "build", "test"))
    receiver = otlp.Receiver(folder)
    weir = None
    try:
        receiver.start()
        handlers = [house.write_handlers(os.path.join(folder, "handlers"), HANDLERS)]
        weir = house.Weir(folder, options.binary, handlers, settings(receiver), schema=SCHEMA).start()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), handler_of(TraceService(weir, receiver)))
        print(f"POST http://127.0.0.1:{options.port}/test", flush=True)
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        if weir:
            weir.stop()
        receiver.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
