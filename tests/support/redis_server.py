"""A real redis-server for a run or a test: unprivileged, on loopback or a unix socket, all its files in a folder.

Only the Python standard library: `make stack` may use this too.
"""

import os
import signal
import socket
import threading
import time

import processes


class RedisError(Exception):
    """An error that Redis answered."""


class Client:
    """A connection that speaks RESP2, so that a test needs no library of somebody else."""

    def __init__(self, address, timeout=10):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def call(self, *args):
        parts = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        raise ConnectionError(f"not RESP: {line!r}")


class Redis:
    """One server.  start() waits until it answers; it keeps nothing on disk, so a restart is empty."""

    def __init__(self, folder, name="redis", unix=False, password=None, options=()):
        self.folder = os.path.join(os.path.realpath(folder), name)
        self.path = os.path.join(self.folder, "redis.sock")
        self.unix = unix
        self.port = None if unix else processes.free_port()
        self.password = password
        self.options = list(options)
        self.process = None

    @property
    def url(self):
        if self.unix:
            return "unix:" + self.path
        user = f":{self.password}@" if self.password else ""
        return f"redis://{user}127.0.0.1:{self.port}/0"

    @property
    def address(self):
        return self.path if self.unix else ("127.0.0.1", self.port)

    # -- life

    def start(self):
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        listen = ["--port", "0", "--unixsocket", self.path] if self.unix else ["--port", str(self.port), "--bind", "127.0.0.1"]
        secret = ["--requirepass", self.password] if self.password else []
        self.process = processes.start(
            ["redis-server", *listen, *secret, "--dir", self.folder, "--save", "", "--appendonly", "no", *self.options],
            cwd=self.folder,
            log=os.path.join(self.folder, "redis.log"),
        )
        processes.wait_until(self.answers, "Redis", alive=[self.process])
        return self

    def answers(self):
        try:
            return self.call("PING") == "PONG"
        except (OSError, RedisError):
            return False

    def stop(self):
        """Ends it politely; a stopped one is continued first."""
        processes.stop(self.process)
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self):
        """Comes back empty, on the same address."""
        self.stop()
        return self.start()

    def suspend(self):
        """SIGSTOP: connections are still accepted by the kernel, and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)
        processes.wait_until(lambda: processes.status_field(self.process.pid, "State").startswith("T"), "the stop")

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    # -- talking to it

    def client(self, timeout=10):
        client = Client(self.address, timeout)
        if self.password:
            client.call("AUTH", self.password)
        return client

    def call(self, *args):
        with self.client() as client:
            return client.call(*args)

    def calls(self, command):
        """How often it has run a command, by anybody, scripts included."""
        for line in self.call("INFO", "commandstats").decode().splitlines():
            name, _, values = line.partition(":")
            if name == f"cmdstat_{command.lower()}":
                return int(values.split(",")[0].partition("=")[2])
        return 0

    def keys(self, pattern="*"):
        return sorted(key.decode() for key in self.call("KEYS", pattern))


class Trickle(threading.Thread):
    """Stands before a Redis and lets its answers through a byte at a time, far slower than any deadline."""

    def __init__(self, path, address):
        super().__init__(daemon=True)
        self.path, self.address = path, address
        self.slow = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        self.start()

    def run(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.address)
            except OSError:  # it is away
                client.close()
                server.close()
                continue
            threading.Thread(target=self.pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, True), daemon=True).start()

    def pump(self, source, target, answers):
        try:
            while data := source.recv(4096):
                for i in range(len(data)) if answers and self.slow else ():
                    target.sendall(data[i : i + 1])
                    time.sleep(0.2)
                if not (answers and self.slow):
                    target.sendall(data)
        except OSError:
            pass
        finally:
            for s in (source, target):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
