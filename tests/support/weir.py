"""A whole weir: nginx in front, `weir serve` behind, a state folder of its own.

`make run`, the tests and the bench start the same thing with the functions of this file.
"""

import contextlib
import fcntl
import http.client
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import fcgi
import metrics
import processes

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
ATLAS = os.path.join(ROOT, "handlers", "atlas")
ISO_CODES = "/usr/share/iso-codes/json"
MAX_SOCKET_PATH = 107  # of struct sockaddr_un


# ---- The parts ---------------------------------------------------------------


def clean_environment(**settings):
    """Our environment without any setting of weir, plus `settings`."""
    prefixes = ("WEIR_", "DB_", "REDIS_", "KAFKA_", "RATE_LIMIT_", "CIRCUIT_BREAKER_", "LOG_", "OTEL_", "IDEMPOTENCY_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
    env.update({k: str(v) for k, v in settings.items()})
    return env


def open_private(path, flags):
    return os.open(path, flags, mode=0o600)


def make_state(folder):
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if len(os.path.join(folder, "admin.sock")) > MAX_SOCKET_PATH:
        raise SystemExit(f"{folder}: too long for the path of a unix socket; use a shorter folder")


def has_atlas(database):
    try:
        return database.execute("SELECT count(*) FROM countries").fetchone()[0] > 0
    except sqlite3.OperationalError:
        return False  # no such table


def atlas_sql():
    """The demo data as SQL, for SQLite and PostgreSQL."""
    importer = [sys.executable, "-B", os.path.join(ATLAS, "schema", "import.py"), ISO_CODES]
    return subprocess.run(importer, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8").stdout


@contextlib.contextmanager
def consumer_place(state):
    """Holds the consumer's place: nothing is applied meanwhile, and the database has no other writer."""
    with contextlib.ExitStack() as stack:
        for name in ("consumer.want", "consumer.lock"):
            lock = stack.enter_context(open(os.path.join(state, name), "a", opener=open_private))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def load_atlas(state):
    """Puts the demo data into the embedded database of `state` when it is not there; safe to repeat."""
    path = os.path.join(state, "weir.db")
    with contextlib.ExitStack() as stack:
        stack.enter_context(consumer_place(state))
        os.close(open_private(path, os.O_RDWR | os.O_CREAT))
        database = stack.enter_context(contextlib.closing(sqlite3.connect(path, timeout=20)))
        if not has_atlas(database):
            database.executescript(atlas_sql())


def remove_segment(state):
    """What a weir leaves that was killed whole; the next one on its state folder would join it."""
    try:
        with open(os.path.join(state, "segment")) as f:
            path = f.read().strip()
        if path.startswith("/dev/shm/weir-"):
            os.unlink(path)
    except FileNotFoundError:
        pass


def start_nginx(folder, port, state, listen=None):
    """nginx on 127.0.0.1:port, all its files under `folder`; `listen`: where weir listens if not on its socket."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    config = os.path.join(folder, "nginx.conf")
    with open(config, "w") as f:
        sockets = [listen or os.path.join(state, "weir.sock"), os.path.join(state, "admin.sock")]
        subprocess.run([os.path.join(ROOT, "nginx", "render"), folder, f"127.0.0.1:{port}", *sockets], check=True, stdout=f)
    return run_nginx(folder, config)


def run_nginx(folder, config):
    log = os.path.join(folder, "error.log")
    return processes.start(
        ["nginx", "-p", folder, "-c", config, "-e", log, "-g", "daemon off;"], log=log, end_signal=signal.SIGQUIT
    )


def port_answers(port, path="/api/v1/health"):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


# ---- The whole ---------------------------------------------------------------


class Reply:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # list of (name, value), as sent
        self.body = body

    def header(self, name):
        """The first value of a header, None when it is not there."""
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:500]!r}"


class Weir:
    """Starts with start(), ends with stop(), also when a test fails: see the fixtures in conftest.py."""

    addresses = itertools.count(1)

    def __init__(self, folder, binary, handlers=(), env=None, atlas_db=None, schema=None, front=True, database=None):
        self.folder = os.path.realpath(folder)
        self.binary = os.path.realpath(binary)
        self.state = os.path.join(self.folder, "var")
        self.listen = "unix:" + os.path.join(self.state, "weir.sock")
        self.admin_listen = "unix:" + os.path.join(self.state, "admin.sock")
        self.log_path = os.path.join(self.folder, "weir.log")
        self.atlas_db = atlas_db
        self.schema = schema
        self.database = database  # of postgres.py; None: the embedded one
        self.front = front
        self.port = processes.free_port() if front else None
        folders = ([ATLAS] if atlas_db else []) + [os.path.realpath(h) for h in handlers]
        settings = {
            "WEIR_STATE_DIR": self.state,
            "WEIR_HANDLERS": ":".join(folders),
            "WEIR_WORKERS": 2,
            "WEIR_TRUSTED_PROXIES": "127.0.0.0/8",
            "WEIR_CACHE_BYTES": "16m",
            "WEIR_SPOOL_BYTES": "64m",
            "RATE_LIMIT_POINTS": 1000000,
            "LOG_LEVEL": "info",
        }
        settings.update(database.settings if database else {})
        settings.update(env or {})
        self.env = clean_environment(**{k: v for k, v in settings.items() if v is not None})
        self.health = "/api/v1/health"
        self.serve_prefix = []  # a command that runs weir
        self.serve_options = []
        self.nginx = None
        self.serve = None

    # -- life

    def start(self):
        make_state(self.state)
        self.make_database()
        if self.front:
            self.start_front()
        self.start_serve()
        self.wait_healthy()
        return self

    def start_front(self):
        """What fronts.py has others of."""
        self.nginx = start_nginx(os.path.join(self.folder, "nginx"), self.port, self.state)

    def make_database(self):
        """The demo data and the test's own tables, before anybody else has the file open."""
        path = os.path.join(self.state, "weir.db")
        if self.database:
            if self.schema:
                self.write(self.schema)
            return
        if os.path.exists(path):
            return
        if self.atlas_db:
            shutil.copy(self.atlas_db, path)
        self.write(self.schema or "")
        os.chmod(path, 0o600)

    def start_serve(self):
        self.serve = processes.start(
            [*self.serve_prefix, self.binary, "serve", *self.serve_options],
            env=self.env,
            cwd=self.folder,
            log=self.log_path,
        )

    def wait_healthy(self):
        answers = self.front_answers if self.front else self.socket_answers
        try:
            processes.wait_until(answers, "the health answer", alive=[p for p in (self.nginx, self.serve) if p])
        except Exception as e:
            self.stop()
            raise RuntimeError(f"{e}\n{self.log()[-4000:]}") from e

    def front_answers(self):
        try:
            return self.get(self.health, timeout=5).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def socket_answers(self):
        try:
            return fcgi.request(self.listen, "GET", self.health, timeout=5).status == 200
        except (OSError, fcgi.Closed):
            return False

    def stop(self):
        """Ends all and leaves no process; the state folder stays for who wants to look."""
        members = self.members()
        processes.stop(self.serve)
        processes.stop(self.nginx)
        processes.kill_group(self.nginx)
        self.serve = self.nginx = None
        outlived = [pid for pid in members if not processes.ends_within(pid, 10)]
        for pid in outlived:
            os.kill(pid, signal.SIGKILL)
        remove_segment(self.state)
        assert not outlived, f"members {outlived} outlived their supervisor"

    def command(self, *args, timeout=60, env=None):
        """Runs `weir ...` with this weir's settings."""
        return subprocess.run(
            [self.binary, *args],
            env={**self.env, **(env or {})},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    # -- processes

    def members(self):
        """Workers and consumer: the supervisor's children."""
        if self.serve is None or self.serve.poll() is not None:
            return []
        return processes.children_of(self.serve.pid)

    def members_named(self, command):
        return [pid for pid in self.members() if command in processes.command_of(pid)[1:]]

    def workers(self):
        return self.members_named("worker")

    def consumer(self):
        found = self.members_named("consume")
        return found[0] if found else None

    # -- requests through nginx

    def request(self, method, target, headers=None, body=None, client=None, timeout=30, port=None):
        """One request; `target` goes out as it is.  Without `client` each request is a new address."""
        headers = dict(headers or {})
        if client is None:
            n = next(Weir.addresses)
            client = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
        headers.setdefault("X-Forwarded-For", client)
        connection = self.http_connection(port or self.port, timeout)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers.items():
                for one in value if isinstance(value, list) else [value]:
                    connection.putheader(name, one)
            if body is not None and "Transfer-Encoding" not in headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def http_connection(self, port, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def get(self, target, headers=None, **how):
        return self.request("GET", target, headers, **how)

    def post(self, target, value=None, key=None, headers=None, body=None, method="POST", **how):
        """`value` is sent as JSON; `body` sends bytes as they are."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        if key is not None:
            headers["Idempotency-Key"] = key
        if body is None:
            body = json.dumps(value if value is not None else {}).encode()
        return self.request(method, target, headers, body, **how)

    # -- requests past nginx

    def connect(self, timeout=20):
        return fcgi.Connection(self.listen, timeout)

    def fcgi(self, method, target, headers=(), body=b"", tenant=None, timeout=20, **extra):
        """One request on the socket itself, where a test may say who the tenant is."""
        if tenant is not None:
            extra["TENANT_ID"] = tenant
        headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
        if "REMOTE_ADDR" not in extra:
            n = next(Weir.addresses)
            extra["address"] = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
        answer = fcgi.request(self.listen, method, target, headers, body, timeout, **extra)
        return Reply(answer.status, answer.headers, answer.body)

    def fcgi_post(self, target, value, key=None, tenant=None, **how):
        headers = [("Content-Type", "application/json")]
        if key is not None:
            headers.append(("Idempotency-Key", key))
        return self.fcgi("POST", target, headers, json.dumps(value).encode(), tenant, **how)

    def admin(self, target):
        answer = fcgi.request(self.admin_listen, "GET", target)
        return Reply(answer.status, answer.headers, answer.body)

    # -- looking inside

    def log(self):
        try:
            with open(self.log_path, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_lines(self):
        """The log's JSON lines as dicts."""
        found = []
        for line in self.log().splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found

    def events(self, name):
        """The log's lines about one thing."""
        return [line for line in self.log_lines() if line.get("event") == name]

    def status(self):
        """What `weir status --json` tells."""
        run = self.command("status", "--json")
        assert run.returncode == 0, run
        return json.loads(run.stdout)

    def metrics(self):
        """What `weir status --metrics` tells, by metrics.parse()."""
        run = self.command("status", "--metrics")
        assert run.returncode == 0, run
        return metrics.parse(run.stdout)

    def counter(self, name, **labels):
        """A counter of all members together, living and dead: the sum of its samples that have these labels."""
        return int(metrics.total(self.metrics(), f"weir_{name}_total", **labels))

    def rows(self, sql, *values):
        """Rows of the embedded database, read as any other process may."""
        connection = sqlite3.connect(f"file:{self.state}/weir.db?mode=ro", uri=True, timeout=20)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def write(self, sql):
        """Changes the database behind weir's back, as a migration or an importer does."""
        if self.database:
            self.database.write(sql)
            return
        connection = sqlite3.connect(os.path.join(self.state, "weir.db"), timeout=20)
        try:
            connection.executescript(sql)
        finally:
            connection.close()

    def wait_operation(self, location, want="applied", timeout=20):
        """Polls an operation until it is in the wanted state, and returns its last answer."""

        def there():
            reply = self.get(location)
            return reply if reply.status == 200 and reply.json()["status"] == want else None

        return processes.wait_until(there, f"{location} {want}", timeout)


def write_handlers(folder, files):
    """Makes a folder of endpoint files from {name: text}, and returns its path."""
    os.makedirs(folder, exist_ok=True)
    for name, text in files.items():
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    return folder


def all_at_once(count, work):
    """Runs work(0) .. work(count - 1) in threads that start together; returns what each returned."""
    barrier = threading.Barrier(count)
    results = [None] * count

    def one(i):
        barrier.wait()
        try:
            results[i] = work(i)
        except Exception as e:  # handed to the test, which fails on it
            results[i] = e

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def sleep_past(moment):
    """Sleeps until time.time() is past `moment` (freshness is measured in whole seconds of real time)."""
    while time.time() <= moment:
        time.sleep(0.05)
