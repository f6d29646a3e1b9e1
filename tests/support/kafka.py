"""A real Kafka of one node on loopback: broker and controller in one process, all its files under one folder.

The jars come from Maven Central once, by the pom beside this file, into build/kafka; then nothing is asked of
the network any more.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import processes

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
POM = os.path.join(ROOT, "tests", "support", "kafka", "pom.xml")
CACHE = os.path.join(ROOT, "build", "kafka")
PARTITIONS = 6

SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
num.partitions={partitions}
auto.create.topics.enable=true
message.max.bytes=4194304
replica.fetch.max.bytes=4194304
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=2
log.flush.interval.messages=9223372036854775807
"""


def fetch(libs):
    """Maven's own words, which end in escapes for a terminal even without one, are for when it fails."""
    print(f"kafka: fetching its jars from Maven Central into {os.path.relpath(libs)}", file=sys.stderr, flush=True)
    options = ["--batch-mode", "--quiet", "-Dstyle.color=never", "-DincludeScope=runtime", f"-DoutputDirectory={libs}"]
    argv = ["mvn", *options, "--file", POM, "dependency:copy-dependencies"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"Kafka's jars could not be fetched from Maven Central:\n{done.stdout}")


def jars():
    """The folder with the broker's jars, fetched when they are not there yet."""
    with open(POM, "rb") as f:
        wanted = f.read()
    os.makedirs(CACHE, exist_ok=True)
    stamp, libs = os.path.join(CACHE, "pom.xml"), os.path.join(CACHE, "libs")
    with open(os.path.join(CACHE, "lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may begin at once
        if not os.path.exists(stamp) or open(stamp, "rb").read() != wanted:
            shutil.rmtree(libs, ignore_errors=True)
            fetch(libs)
            shutil.copy(POM, stamp)  # last: what is half fetched is fetched again
    return libs


def port_answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Kafka:
    """Not started yet; the port stays the same over a restart, and so does what was stored."""

    def __init__(self, folder, partitions=PARTITIONS):
        self.folder = os.path.realpath(folder)
        self.port, self.controller = processes.free_port(), processes.free_port()
        self.brokers = f"127.0.0.1:{self.port}"
        self.partitions = partitions
        self.process = None
        self.log = os.path.join(self.folder, "kafka.log")

    def java(self, name, *args):
        heap = ["-Xms192m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return ["java", *heap, "-cp", os.path.join(jars(), "*"), name, *args]

    def format(self):
        """Writes the settings and an empty log, once."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        settings = os.path.join(self.folder, "server.properties")
        if not os.path.exists(settings):
            with open(settings + ".new", "w") as f:
                f.write(SETTINGS.format(port=self.port, controller=self.controller, folder=self.folder, partitions=self.partitions))
            tool = self.java("kafka.tools.StorageTool", "format", "-t", "weirtestsweirtestsweir", "-c", settings + ".new")
            with open(self.log, "ab") as log:
                subprocess.run(tool, check=True, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            os.rename(settings + ".new", settings)
        return settings

    def start(self, wait=True):
        settings = self.format()
        self.process = processes.start(self.java("kafka.Kafka", settings), cwd=self.folder, log=self.log)
        if wait:
            self.wait()
        return self

    def wait(self):
        processes.wait_until(lambda: port_answers(self.port), "the broker's port", 90, alive=[self.process])
        return self

    def stop(self):
        """In order; a stopped (SIGSTOP) one is continued first."""
        processes.stop(self.process, timeout=30)
        processes.kill_group(self.process)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    # -- looking inside, and writing as others do

    def messages(self, topic):
        """All of a topic: [{"partition", "offset", "ts", "key", "payload", "headers": {name: value}}]."""
        run = subprocess.run(
            ["kcat", "-b", self.brokers, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J"],
            capture_output=True,
            text=True,
            errors="replace",  # not all that is in a topic is text
            timeout=60,
        )
        found = [json.loads(line) for line in run.stdout.splitlines()]
        for m in found:
            flat = m.get("headers") or []
            m["headers"] = dict(zip(flat[::2], flat[1::2]))
        return found

    def send(self, topic, value, key=None, headers=None):
        options = [f"-k{key}"] if key else []
        for name, text in (headers or {}).items():
            options += ["-H", f"{name}={text}"]
        subprocess.run(
            ["kcat", "-b", self.brokers, "-P", "-t", topic, "-D", "\x1e", *options],
            input=value,
            check=True,
            timeout=60,
        )


def main():
    """For tests in C: says where the broker is, and stops it when its standard input ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = tempfile.mkdtemp(prefix="weir-kafka-")
    broker = Kafka(folder)
    try:
        print(broker.start().brokers, flush=True)
        sys.stdin.read()
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
