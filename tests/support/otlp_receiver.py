"""A receiver of OTLP as a process of its own, so that a test can freeze and kill it.

    otlp_receiver.py --port N --log FILE --answers FILE [--grpc] [--tls CERT KEY] [--client-ca FILE]

Appends one JSON object a request to the log.  The answers are a JSON list: each request takes the first and removes it; without
one it is taken.  HTTP: {"status": 503, "headers": {...}, "rejected": 3, "body_bytes": N}; gRPC: {"code": 14, "details": "base64"}.
"""

import argparse
import base64
import fcntl
import gzip
import http.server
import json
import os
import ssl
import sys
import threading
from concurrent import futures

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import otlp_messages  # noqa: E402  (found by the line above)

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


class Book:
    """What came, and what is to be answered."""

    def __init__(self, log, answers):
        self.log = log
        self.answers = answers
        self.lock = threading.Lock()
        self.busy = 0

    def next_answer(self):
        with open(self.answers, "r+") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            left = json.load(f)
            answer = left.pop(0) if left else {}
            f.seek(0)
            f.truncate()
            json.dump(left, f)
        return answer

    def take(self, path, headers, body, encoded):
        decode = otlp_messages.metrics if "etric" in path else otlp_messages.traces
        with self.lock:
            answer = self.next_answer()
            line = {"path": path, "headers": headers, "gzip": encoded, "answer": answer, "at_once": self.busy, **decode(body)}
            with open(self.log, "a") as f:
                f.write(json.dumps(line) + "\n")
        return answer


def http_handler(book):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            book.busy += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            encoded = self.headers.get("Content-Encoding") == "gzip"
            headers = {k.lower(): v for k, v in self.headers.items()}
            answer = book.take(self.path, headers, gzip.decompress(body) if encoded else body, encoded)
            reply = b"x" * answer["body_bytes"] if "body_bytes" in answer else otlp_messages.response(answer.get("rejected", 0), "no")
            book.busy -= 1
            self.send_response(answer.get("status", 200))
            for name, value in answer.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            try:
                self.wfile.write(reply)
            except OSError:
                pass  # weir has read enough of it

        def log_message(self, *args):
            pass

    return Handler


def serve_http(book, options):
    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            pass

    server = Server(("127.0.0.1", options.port), http_handler(book))
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
        if options.client_ca:
            context.load_verify_locations(options.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def serve_grpc(book, options):
    import grpc

    codes = {c.value[0]: c for c in grpc.StatusCode}

    def handle(path):
        def run(body, context):
            headers = {k: v for k, v in context.invocation_metadata()}
            answer = book.take(path, headers, body, headers.get("grpc-encoding") == "gzip")
            if "details" in answer:
                context.set_trailing_metadata((("grpc-status-details-bin", base64.b64decode(answer["details"])),))
            if answer.get("code", 0) != 0:
                context.abort(codes[answer["code"]], "as the test wants it")
            return otlp_messages.response(answer.get("rejected", 0), "no")

        return grpc.unary_unary_rpc_method_handler(run)

    class Services(grpc.GenericRpcHandler):
        def service(self, details):
            return handle(details.method) if details.method in (TRACES, METRICS) else None

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(Services(),))
    address = f"127.0.0.1:{options.port}"
    if options.tls:
        cert, key = (open(path, "rb").read() for path in options.tls)
        server.add_secure_port(address, grpc.ssl_server_credentials(((key, cert),)))
    else:
        server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--answers", required=True)
    parser.add_argument("--grpc", action="store_true")
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--client-ca")
    options = parser.parse_args()
    (serve_grpc if options.grpc else serve_http)(Book(options.log, options.answers), options)


if __name__ == "__main__":
    main()
