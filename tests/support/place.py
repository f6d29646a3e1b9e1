"""A weir of an ordinary user, and one front before it that is not nginx."""

import contextlib
import http.client
import json
import os
import shutil
import sqlite3
import subprocess

import apache
import lighttpd
import processes
import weir as house


class Place:
    """A folder with weir's own things, which an ordinary user owns, and one front before it."""

    def __init__(self, folder, binary, handlers, schema, env=None):
        self.folder = os.path.realpath(folder)
        self.user = apache.ordinary_user()
        self.state = os.path.join(self.folder, "state")
        self.socket = os.path.join(self.folder, "weir.sock")
        self.log_path = os.path.join(self.folder, "weir.log")
        self.env_file = os.path.join(self.folder, "weir.env")
        # Who runs it may not be able to enter the folder of the one that was built.
        self.binary = shutil.copy(binary, os.path.join(self.folder, "weir"))
        house.write_handlers(os.path.join(self.folder, "handlers"), handlers)
        os.makedirs(self.state, mode=0o700)
        with sqlite3.connect(os.path.join(self.state, "weir.db")) as database:
            database.executescript(schema)
        os.chmod(os.path.join(self.state, "weir.db"), 0o600)
        settings = {
            "WEIR_STATE_DIR": self.state,
            "WEIR_HANDLERS": os.path.join(self.folder, "handlers"),
            "WEIR_LISTEN": "unix:" + self.socket,
            "WEIR_CACHE_BYTES": "4m",
            "WEIR_SPOOL_BYTES": "64m",
            "WEIR_WORKERS": 2,
            "RATE_LIMIT_POINTS": 1000000,
            "LOG_FILE": self.log_path,
            **(env or {}),
        }
        with open(self.env_file, "w") as f:
            f.write("".join(f"{k}={v}\n" for k, v in settings.items()))
        apache.give(self.folder, self.user)
        self.started = []  # of our own, beside the front
        self.front = None

    def run(self, *argv):
        process = processes.start(argv, env=house.clean_environment(), cwd=self.folder, log=self.log_path + ".err", user=self.user)
        self.started.append(process)
        return process

    def serve(self):
        process = self.run(self.binary, "serve", "--env-file", self.env_file)
        processes.wait_until(lambda: os.path.exists(self.socket), "the socket", alive=[process])
        return process

    def apache(self, name, *modules, location="/api/"):
        with open(os.path.join(house.ROOT, "apache", name)) as f:
            text = f.read()
        site = f"Define WEIR_PROGRAM {self.binary}\nDefine WEIR_ENV_FILE {self.env_file}\nDefine WEIR_SOCKET {self.socket}\n"
        site += f"Define WEIR_LOCATION {location}\n{text}"
        return self.begin(apache.Apache(os.path.join(self.folder, "apache"), site, modules, self.user))

    def lighttpd(self, site):
        return self.begin(lighttpd.Lighttpd(os.path.join(self.folder, "lighttpd"), site, self.user))

    def begin(self, front):
        self.front = front.start()
        processes.wait_until(self.answers, "an answer", alive=[front.process])
        return self

    def answers(self):
        try:
            return self.request("GET", "/api/v1/health").status in (200, 404)  # 404: it serves another folder
        except (OSError, http.client.HTTPException):
            return False

    def request(self, method, target, headers=None, body=None, **how):
        connection = http.client.HTTPConnection("127.0.0.1", self.front.port, timeout=30)
        try:
            connection.request(method, target, body, headers or {}, **how)
            answer = connection.getresponse()
            return house.Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def get(self, target, headers=None):
        return self.request("GET", target, headers)

    def post(self, value, key, **how):
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self.request("POST", "/api/v1/jots", headers, json.dumps(value).encode(), **how)

    def command(self, *args):
        return subprocess.run(
            [self.binary, *args, "--env-file", self.env_file],
            env=house.clean_environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            **processes.as_user(self.user),
        )

    def log(self, event):
        with open(self.log_path) as f:
            return [line for line in f if f'"event":"{event}"' in line]

    def ids(self):
        connection = sqlite3.connect(f"file:{self.state}/weir.db?mode=ro", uri=True, timeout=20)
        with contextlib.closing(connection):
            return {row[0] for row in connection.execute("SELECT id FROM jots")}

    def stop(self):
        if self.front is not None and self.front.process is not None:
            self.front.stop()
        for process in self.started:
            processes.stop(process)
            processes.kill_group(process)
        house.remove_segment(self.state)
