"""A web root as a customer of a shared host has it: one program, one .htaccess, a folder of endpoint files."""

import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess

import apache
import processes
import weir as house

HTACCESS = os.path.join(house.ROOT, "apache", "htaccess")


class SharedHost:
    """Apache with AllowOverride All, run by an ordinary user; `module` is fcgid or cgid, `sub` a folder of the web root."""

    def __init__(self, folder, binary, handlers, schema="", env=None, module="fcgid", htaccess=None, site="", sub=""):
        self.folder = os.path.realpath(folder)
        self.root = os.path.join(self.folder, "www")
        self.web = os.path.join(self.root, sub) if sub else self.root
        self.prefix = "/" + sub if sub else ""
        self.state = os.path.join(self.web, "var")
        self.user = apache.ordinary_user()
        self.program = os.path.join(self.web, "weir.fcgi")
        os.makedirs(os.path.join(self.web, "handlers"))
        shutil.copy(binary, self.program)
        os.chmod(self.program, 0o755)
        if htaccess is None:
            with open(HTACCESS) as f:
                htaccess = f.read()
            if module != "fcgid":
                htaccess = htaccess.replace("SetHandler fcgid-script", "SetHandler cgi-script")
        if htaccess:
            self.write(".htaccess", htaccess)
        for name, text in handlers.items():
            self.write("handlers/" + name, text)
        self.settings({"WEIR_CACHE_BYTES": "4m", "WEIR_SPOOL_BYTES": "64m", "RATE_LIMIT_POINTS": 1000000, **(env or {})})
        if schema:
            os.makedirs(self.state, mode=0o700)
            with sqlite3.connect(os.path.join(self.state, "weir.db")) as database:
                database.executescript(schema)
            os.chmod(os.path.join(self.state, "weir.db"), 0o600)
        self.apache = apache.Apache(os.path.join(self.folder, "apache"), site, (module,), self.user, self.root, "All")
        apache.give(self.folder, self.user)

    def write(self, name, text):
        """A file of the web root, put there whole."""
        path = os.path.join(self.web, name)
        with open(path + ".new", "w") as f:
            f.write(text)
        os.replace(path + ".new", path)

    def settings(self, env):
        self.write(".env", "".join(f"{k}={v}\n" for k, v in env.items() if v is not None))

    def start(self):
        self.apache.start()
        processes.wait_until(self.listens, "Apache", alive=[self.apache.process])
        return self

    def listens(self):
        try:
            http.client.HTTPConnection("127.0.0.1", self.apache.port, timeout=5).connect()
            return True
        except OSError:
            return False

    def stop(self):
        if self.apache.process is not None:
            self.apache.stop()
        house.remove_segment(self.state)

    def request(self, method, target, headers=None, body=None, timeout=30):
        """One request, on a connection of its own; a weaker one may be answered by nobody."""
        connection = http.client.HTTPConnection("127.0.0.1", self.apache.port, timeout=timeout)
        try:
            connection.request(method, self.prefix + target, body, headers or {})
            answer = connection.getresponse()
            return house.Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def get(self, target, headers=None):
        return self.request("GET", target, headers)

    def json(self, target):
        """What it answers, None when that is no 200."""
        reply = self.get(target)
        return reply.json() if reply.status == 200 else None

    def post(self, target, value, key, headers=None):
        sent = {"Content-Type": "application/json", "Idempotency-Key": key, **(headers or {})}
        return self.request("POST", target, sent, json.dumps(value).encode())

    def command(self, *args):
        """`weir ...` as its owner runs it in the web root."""
        return subprocess.run(
            [self.program, *args],
            cwd=self.web,
            env=house.clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            **processes.as_user(self.user),
        )

    def rows(self, sql):
        connection = sqlite3.connect(f"file:{self.state}/weir.db?mode=ro", uri=True, timeout=20)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def log_lines(self, event):
        """The lines of weir's in Apache's error log that tell of one kind of event."""
        found = []
        for line in self.apache.log().splitlines():
            if line.startswith("{"):
                value = json.loads(line)
                if value["event"] == event:
                    found.append(value)
        return found

    def kill(self, pids):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
