"""A FastCGI 1.0 client that can also misbehave.

`request()` is the whole exchange.  What a front server never sends (half a header, one byte at a
time, garbage) is made from `records()`, which gives the bytes, and `Connection`, which sends any bytes.
"""

import socket
import struct

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, GET_VALUES_RESULT, UNKNOWN = range(1, 12)
RESPONDER = 1
KEEP_CONN = 1
HEADER_BYTES = 8
MAX_CONTENT = 65535


class Closed(Exception):
    """The peer closed before the answer was whole."""


class Answer:
    def __init__(self, status, headers, body, errors, app_status, protocol_status):
        self.status = status
        self.headers = headers  # list of (name, value), as sent
        self.body = body
        self.errors = errors  # what came on STDERR
        self.app_status = app_status
        self.protocol_status = protocol_status

    def header(self, name):
        """The first value of a header, None when it is not there."""
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None


def record(kind, content=b"", request_id=1, version=1, padding=0):
    """One record; `content` is at most 65535 bytes."""
    head = struct.pack(">BBHHBB", version, kind, request_id, len(content), padding, 0)
    return head + content + b"\0" * padding


def stream(kind, content, request_id=1, chunk=32768):
    """A whole stream: records of at most `chunk` bytes, and the empty one that ends it."""
    parts = [record(kind, content[at : at + chunk], request_id) for at in range(0, len(content), chunk)]
    return b"".join(parts) + record(kind, b"", request_id)


def pair(name, value):
    def length(n):
        return struct.pack(">B", n) if n < 128 else struct.pack(">I", n | 0x80000000)

    name = name.encode() if isinstance(name, str) else name
    value = value.encode("latin-1") if isinstance(value, str) else value
    return length(len(name)) + length(len(value)) + name + value


def params_for(method, target, headers=(), body=b"", address="192.0.2.1", **extra):
    """The parameters that nginx would send, as (name, value) pairs; `extra` adds, None removes."""
    path, _, query = target.partition("?")
    named = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": target,
        "DOCUMENT_URI": path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REMOTE_ADDR": address,
        "REMOTE_PORT": "40000",
        "SERVER_ADDR": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_NAME": "localhost",
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "CONTENT_TYPE": "",
    }
    repeated = []
    for name, value in headers:
        key = name.upper().replace("-", "_")
        if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            named[key] = value
        else:
            repeated.append(("HTTP_" + key, value))
    named.update(extra)
    return [(k, v) for k, v in named.items() if v is not None] + repeated


def records(params, body=b"", keep=False, request_id=1):
    """All bytes of one request."""
    begin = struct.pack(">HB5x", RESPONDER, KEEP_CONN if keep else 0)
    encoded = b"".join(pair(name, value) for name, value in params)
    return (
        record(BEGIN, begin, request_id)
        + stream(PARAMS, encoded, request_id)
        + stream(STDIN, body, request_id)
    )


class Connection:
    """One connection to a FastCGI socket: `unix:PATH` or `HOST:PORT`."""

    def __init__(self, listen, timeout=20):
        if listen.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(listen[len("unix:") :])
        else:
            host, port = listen.rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)), timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_what_fits(self, data):
        """As much as the socket takes while the peer reads nothing; returns the number of bytes."""
        sent, timeout = 0, self.socket.gettimeout()
        self.socket.setblocking(False)
        try:
            while sent < len(data):
                sent += self.socket.send(data[sent : sent + 65536])
        except BlockingIOError:
            pass
        finally:
            self.socket.settimeout(timeout)
        return sent

    def finish_sending(self):
        self.socket.shutdown(socket.SHUT_WR)

    def read_exactly(self, n):
        got = bytearray()
        while len(got) < n:
            piece = self.socket.recv(n - len(got))
            if not piece:
                raise Closed(f"closed after {len(got)} of {n} bytes")
            got += piece
        return bytes(got)

    def read_record(self):
        """(kind, request id, content)"""
        version, kind, request_id, length, padding, _ = struct.unpack(">BBHHBB", self.read_exactly(HEADER_BYTES))
        assert version == 1, f"answer is not FastCGI 1.0: version {version}"
        content = self.read_exactly(length)
        self.read_exactly(padding)
        return kind, request_id, content

    def is_closed_by_peer(self):
        """Waits, at most for the timeout, until the peer closes; any bytes before are passed over."""
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False

    def read_answer(self):
        out, err = bytearray(), bytearray()
        while True:
            kind, _, content = self.read_record()
            if kind == STDOUT:
                out += content
            elif kind == STDERR:
                err += content
            elif kind == END:
                app_status, protocol_status = struct.unpack(">IB3x", content)
                return parse_answer(bytes(out), bytes(err), app_status, protocol_status)
            else:
                raise AssertionError(f"unexpected record of type {kind}")

    def request(self, method, target, headers=(), body=b"", keep=True, **extra):
        self.send(records(params_for(method, target, headers, body, **extra), body, keep))
        return self.read_answer()


def parse_answer(out, err, app_status, protocol_status):
    head, _, body = out.partition(b"\r\n\r\n")
    headers = []
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        headers.append((name.decode("latin-1"), value.strip().decode("latin-1")))
    status = next((int(v.split()[0]) for k, v in headers if k.lower() == "status"), 200)
    return Answer(status, headers, body, err, app_status, protocol_status)


def request(listen, method, target, headers=(), body=b"", timeout=20, **extra):
    """One request on a connection of its own."""
    with Connection(listen, timeout) as connection:
        return connection.request(method, target, headers, body, keep=False, **extra)
