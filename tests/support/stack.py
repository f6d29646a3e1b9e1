"""`make stack`: weir behind nginx on two Redis, Kafka, PostgreSQL with a replica, and PgBouncer, until Ctrl-C.

Every start is a fresh one.  All is on loopback and on free ports, and all files are under var/stack (--state moves
var/); var/stack.env holds the settings in force while it runs.  When one server ends by itself, or does not start, the
others are stopped and it is said which.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import foreground
import kafka
import postgres
import processes
import redis_server
import weir

SHARDS = 2

TRY = """
weir answers on {url} with the demo API, atlas, on real servers:

  curl -i {url}/api/v1/countries/PT
  curl -i {url}/api/v1/events -H 'Content-Type: application/json' \\
       -H 'Idempotency-Key: my-first-event' -d '{{"type": "hello", "payload": {{"n": 1}}}}'
  curl {url}/api/v1/events/my-first-event
  curl {url}/ready            (only from this machine)
  {url}/status                in a browser: what is going on (likewise)

{shards}
  Kafka        kcat -b {brokers} -t {topic} -C
  PostgreSQL   psql {primary}
    replica    psql {replica}
  PgBouncer    psql {bouncer}

The settings in force are in {env}: build/weir status --env-file {env}
The log is {log}.  Ctrl-C stops everything.
"""


class Stack:
    """All servers, started by start(); what was started ends with `exits`, in reverse."""

    def __init__(self, binary, port, state, exits):
        self.binary, self.port, self.exits = binary, port, exits
        self.top = state
        self.folder = os.path.join(state, "stack")
        self.env_file = os.path.join(state, "stack.env")
        self.state = os.path.join(self.folder, "weir")
        self.log = os.path.join(self.folder, "weir.log")
        self.redis = self.kafka = self.postgres = None
        self.processes = {}  # by name

    # -- folders

    def take_folder(self):
        """Ours alone, and empty: what lies in a Kafka and in a spool belongs together or not at all."""
        os.makedirs(self.top, mode=0o700, exist_ok=True)
        lock = self.exits.enter_context(open(os.path.join(self.top, "stack.lock"), "a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another make stack runs in {self.top}") from None
        weir.remove_segment(self.state)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        weir.make_state(self.state)

    def postgres_folder(self):
        """Where its user comes in: that is another one than root, and var/ may be the private state of `make run`."""
        folder = os.path.join(self.folder, "postgresql")
        user = postgres.unprivileged()
        if user is None:
            return folder
        mode = os.stat(self.top).st_mode & 0o7777
        os.chmod(self.top, mode | 0o001)
        self.exits.callback(os.chmod, self.top, mode)
        if subprocess.run(["test", "-x", self.folder], **processes.as_user(user)).returncode == 0:
            return folder
        elsewhere = tempfile.mkdtemp(prefix="weir-stack-")  # the source tree lies in a private home
        self.exits.callback(shutil.rmtree, elsewhere, ignore_errors=True)
        os.symlink(elsewhere, folder)
        return elsewhere

    # -- servers

    def start_backends(self):
        self.kafka = kafka.Kafka(os.path.join(self.folder, "kafka"))
        self.exits.callback(self.kafka.stop)
        self.kafka.start(wait=False)  # it takes the longest
        self.start_redis()
        self.postgres = postgres.Servers(replicas=1, folder=self.postgres_folder())
        self.exits.callback(self.postgres.stop)
        self.load_atlas()
        self.kafka.wait()
        self.processes.update({"Kafka": self.kafka.process, "PostgreSQL": self.postgres.primary.process})
        self.processes.update({"the replica": self.postgres.replicas[0].process})
        self.processes.update({"PgBouncer": self.postgres.bouncer.process})

    def start_redis(self):
        self.redis = [redis_server.Redis(self.folder, f"redis-{i + 1}") for i in range(SHARDS)]
        for shard in self.redis:
            self.exits.callback(shard.stop)
            shard.start()
            self.processes[os.path.basename(shard.folder)] = shard.process

    def load_atlas(self):
        self.postgres.primary.sql(weir.atlas_sql())
        self.postgres.replicas[0].catch_up(self.postgres.primary)

    def start_weir(self):
        env = {**os.environ, **self.settings()}  # ours win: stack.env says what is in force
        subprocess.run([self.binary, "migrate"], env=env, cwd=weir.ROOT, check=True)
        serve = processes.start([self.binary, "serve"], env=env, cwd=weir.ROOT)
        self.exits.callback(self.end, serve, signal.SIGTERM, 15)
        nginx = weir.start_nginx(os.path.join(self.folder, "nginx"), self.port, self.state)
        self.exits.callback(self.end, nginx, signal.SIGQUIT, 5)  # first: what it has in hand is still answered
        self.processes.update({"weir": serve, "nginx": nginx})
        processes.wait_until(
            lambda: weir.port_answers(self.port), "the health answer", 60, alive=self.processes.values()
        )

    @staticmethod
    def end(process, sig, timeout):
        processes.stop(process, sig, timeout)
        processes.kill_group(process)

    # -- what people need to know

    def settings(self):
        return {
            "WEIR_STATE_DIR": self.state,
            "WEIR_LISTEN": f"unix:{self.state}/weir.sock",
            "WEIR_ADMIN_LISTEN": f"unix:{self.state}/admin.sock",
            "LOG_FILE": self.log,
            "REDIS_URL": ",".join(shard.url for shard in self.redis),
            "KAFKA_BROKERS": self.kafka.brokers,
            "KAFKA_TOPIC": os.environ.get("KAFKA_TOPIC", "api-mutations"),
            "DB_READ_URL": self.postgres.bouncer.url("read-1"),
            "DB_WRITE_URL": self.postgres.bouncer.url(),
        }

    def write_settings(self):
        """Whole or not at all, and not for others: there are passwords in it."""
        new = self.env_file + ".new"
        with open(new, "w", opener=weir.open_private) as f:
            f.writelines(f"{name}={value}\n" for name, value in self.settings().items())
        os.rename(new, self.env_file)
        self.exits.callback(os.unlink, self.env_file)

    def tell(self):
        servers = self.postgres
        shards = "\n".join(
            f"  Redis {i + 1}      redis-cli -u {shard.url} monitor" for i, shard in enumerate(self.redis)
        )
        text = TRY.format(
            url=f"http://127.0.0.1:{self.port}",
            shards=shards,
            brokers=self.kafka.brokers,
            topic=self.settings()["KAFKA_TOPIC"],
            primary=servers.primary.url(),
            replica=servers.replicas[0].url(),
            bouncer=servers.bouncer.url(),
            env=os.path.relpath(self.env_file, weir.ROOT),
            log=os.path.relpath(self.log, weir.ROOT),
        )
        print(text, flush=True)

    def run(self):
        self.take_folder()
        print("stack: starting Redis, Kafka and PostgreSQL", flush=True)
        self.start_backends()
        self.write_settings()
        self.start_weir()
        self.tell()
        foreground.watch(self.processes)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", default=os.path.join(weir.ROOT, "var"))
    return parser.parse_args()


def run_until_told(args):
    """Returns what went wrong, None when somebody wanted us to end."""
    state = os.path.realpath(args.state)
    with contextlib.ExitStack() as exits:
        try:
            Stack(os.path.realpath(args.binary), args.port, state, exits).run()
        except foreground.Stop:
            print("\nstack: stopping", flush=True)
        except (OSError, RuntimeError, TimeoutError, subprocess.SubprocessError) as e:
            return f"stack: {e}; see the logs in {state}/stack"
        finally:
            foreground.stop_for_good()
    return None


def main():
    args = arguments()
    foreground.refuse_used_port(args.port, "stack")
    foreground.stop_on_signals()
    sys.exit(run_until_told(args))


if __name__ == "__main__":
    main()
