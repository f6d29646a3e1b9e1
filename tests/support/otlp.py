"""A receiver of OTLP for a test: started, frozen, killed, and asked what came."""

import fcntl
import json
import os
import signal
import socket
import sys

import processes

RECEIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "otlp_receiver.py")

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(1, 6)


class Receiver:
    def __init__(self, folder, grpc=False, tls=None, client_ca=None, port=None):
        self.folder = folder
        self.port = port or processes.free_port()
        self.scheme = "https" if tls else "http"
        self.log = os.path.join(folder, "received.jsonl")
        self.answers = os.path.join(folder, "answers.json")
        self.options = ["--grpc"] if grpc else []
        self.options += ["--tls", *tls] if tls else []
        self.options += ["--client-ca", client_ca] if client_ca else []
        self.process = None
        open(self.log, "a").close()
        self.answer([])

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self):
        self.process = processes.start(
            [sys.executable, "-B", RECEIVER, "--port", str(self.port), "--log", self.log, "--answers", self.answers, *self.options],
            log=os.path.join(self.folder, "receiver.log"),
        )
        processes.wait_until(self.listens, "the receiver", alive=[self.process])
        return self

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        except OSError:
            return False

    def stop(self):
        processes.stop(self.process)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def answer(self, answers):
        """What the next requests are answered; those after them are taken."""
        with open(self.answers, "a+") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            f.seek(0)
            f.truncate()
            json.dump(answers, f)

    def requests(self, path="race"):
        """All that came to /v1/traces and its twin of gRPC; "etric": to those of metrics."""
        with open(self.log) as f:
            found = [json.loads(line) for line in f if line.endswith("\n")]
        return [r for r in found if path in r["path"]]

    def spans(self):
        return [s for r in self.requests() for s in r["spans"]]

    def wait_for(self, wanted, what, timeout=20):
        """All spans, as soon as one of them is `wanted`."""

        def found():
            spans = self.spans()
            return spans if any(wanted(s) for s in spans) else None

        return processes.wait_until(found, what, timeout)

    def trace(self, trace_id, names, timeout=20):
        """The spans of one trace by name, once all `names` are there."""

        def found():
            spans = {s["name"]: s for s in self.spans() if s["trace_id"] == trace_id}
            return spans if set(names) <= set(spans) else None

        try:
            return processes.wait_until(found, f"spans {names}", timeout)
        except TimeoutError as e:
            raise TimeoutError(f"{e}: {sorted({s['name'] for s in self.spans() if s['trace_id'] == trace_id})}") from e
