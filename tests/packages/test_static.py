"""Goal: one binary that runs where nothing of what it was built on is."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess

import pytest

import chroot
import fcgi
import processes
import redis_server
import weir as house

STATIC = os.path.join(house.ROOT, "build", "weir-static")
HELLO = os.path.join(house.ROOT, "app", "deploy", "handlers", "hello.sql")
NOTES = "-- POST /t/notes\n-- body text: text\nINSERT INTO notes (id, text) VALUES (:idempotency_key, :text);\n"


@pytest.fixture(scope="module", params=["bullseye"])
def old_system(request):
    """Debian 11; what is older is not on the mirror."""
    with chroot.copy_of(request.param) as system:
        system.run("apt-get", "update")
        system.run("apt-get", "install", "-y", "--no-install-recommends", "libnss-myhostname", "libnss-mymachines", "libnss-resolve")
        yield system


def put(system, path, text):
    os.makedirs(os.path.dirname(system.path(path)), exist_ok=True)
    with open(system.path(path), "w") as f:
        f.write(text)


def make_table(state):
    os.makedirs(state, mode=0o700, exist_ok=True)
    with contextlib.closing(sqlite3.connect(os.path.join(state, "weir.db"))) as database:
        database.execute("CREATE TABLE IF NOT EXISTS notes (id TEXT PRIMARY KEY, text TEXT)")
    os.chmod(os.path.join(state, "weir.db"), 0o600)


@pytest.fixture
def served(old_system, tmp_path):
    """Starts the static weir there, and says where it listens."""
    put(old_system, "/srv/handlers/hello.sql", open(HELLO).read())
    put(old_system, "/srv/handlers/note.sql", NOTES)
    make_table(old_system.path("/srv/state"))
    subprocess.run(["cp", STATIC, old_system.path("/usr/bin/weir")], check=True)
    started = []

    def start(**env):
        env = {"WEIR_STATE_DIR": "/srv/state", "WEIR_HANDLERS": "/srv/handlers", "WEIR_SPOOL_BYTES": "64m", **env}
        log = str(tmp_path / "weir.log")
        listen = "unix:" + old_system.path("/srv/state/weir.sock")
        started.append(old_system.start("/usr/bin/weir", "serve", env=env, log=log))

        def answers():
            try:
                return fcgi.request(listen, "GET", "/api/v1/health", timeout=5).status == 200
            except (OSError, fcgi.Closed):
                return False

        processes.wait_until(answers, lambda: "the health answer\n" + open(log).read(), alive=started)
        return listen, env, log

    yield start
    for process in started:
        processes.stop(process)


def test_it_needs_no_library():
    shown = subprocess.run(["readelf", "--dynamic", "--program-headers", STATIC], capture_output=True, text=True).stdout
    assert "NEEDED" not in shown and "INTERP" not in shown


def test_the_old_system_could_not_run_the_ordinary_one(old_system):
    """Else nothing would be shown here."""
    subprocess.run(["cp", os.path.join(house.ROOT, "build", "weir"), old_system.path("/usr/bin/weir-ordinary")], check=True)
    assert old_system.run("/usr/bin/weir-ordinary", "--version", check=False).returncode == 127


def test_it_reads_writes_and_applies_on_an_older_distribution(old_system, served):
    listen, env, log = served()
    hello = fcgi.request(listen, "GET", "/api/v1/hello/you")
    assert (hello.status, hello.body) == (200, b'{"greeting":"Hello, you!"}')
    again = fcgi.request(listen, "GET", "/api/v1/hello/you")
    assert b"Hello" in again.body and "hit" in again.header("Cache-Status")
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", "k1")]
    written = fcgi.request(listen, "POST", "/t/notes", headers, b'{"text":"milk"}')
    assert written.status == 202
    database = f"file:{old_system.path('/srv/state/weir.db')}?mode=ro"
    with contextlib.closing(sqlite3.connect(database, uri=True)) as rows:
        processes.wait_until(lambda: rows.execute("SELECT * FROM notes").fetchall() == [("k1", "milk")], "the row")
    status = old_system.run("/usr/bin/weir", "status", "--json", env=env)
    assert {m["kind"] for m in json.loads(status.stdout)["members"]} == {"supervisor", "consumer", "worker"}


@pytest.mark.parametrize("nss", ["files dns", "mymachines files resolve [!UNAVAIL=return] dns myhostname"])
def test_names_are_found_whatever_the_systems_own_modules_are(old_system, served, nss):
    """Modules that fit another glibc than ours are there, and are not used."""
    put(old_system, "/etc/nsswitch.conf", f"hosts: {nss}\ngroup: files systemd\npasswd: files systemd\n")
    put(old_system, "/etc/hosts", "127.0.0.1 localhost the-redis\n")
    folder = old_system.path("/srv/redis")
    os.makedirs(folder, exist_ok=True)
    redis = redis_server.Redis(folder).start()
    try:
        listen, env, log = served(REDIS_URL=f"redis://the-redis:{redis.port}/0", WEIR_LISTEN_GROUP="www-data", REDIS_TIMEOUT="1s")
        assert fcgi.request(listen, "GET", "/api/v1/hello/redis").status == 200
        check = old_system.run("/usr/bin/weir", "check", "--connect", env=env, check=False)
        assert check.returncode == 0, check.stdout
        assert os.stat(old_system.path("/srv/state/weir.sock")).st_gid == 33
    finally:
        redis.stop()


@pytest.mark.parametrize(
    "name, value",
    [
        ("DB_WRITE_URL", "postgres://weir@127.0.0.1/weir"),
        ("DB_READ_URL", "postgres://weir@127.0.0.1/weir"),
        ("KAFKA_BROKERS", "127.0.0.1:9092"),
        ("KAFKA_CONFIG_SECURITY_PROTOCOL", "ssl"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
    ],
)
def test_a_setting_for_an_engine_that_is_not_built_in_is_a_fault_that_says_so(name, value, tmp_path):
    env = house.clean_environment(WEIR_STATE_DIR=tmp_path / "state", WEIR_HANDLERS=os.path.dirname(HELLO), **{name: value})
    for command in ("check", "serve"):
        run = subprocess.run([STATIC, command], env=env, capture_output=True, text=True, timeout=20)
        assert run.returncode == 78
        assert name in run.stdout + run.stderr and "this weir is built without" in run.stdout + run.stderr


def test_the_version_says_what_is_not_built_in():
    version = subprocess.run([STATIC, "--version"], capture_output=True, text=True).stdout
    for engine in ("PostgreSQL", "Kafka", "OTLP"):
        assert re.search(rf"{engine} +not built in", version)
    assert re.search(r"Redis +built in", version) and "linked statically" in version
