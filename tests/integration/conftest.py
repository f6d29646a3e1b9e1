"""Fixtures of the integration tests: real nginx, real weir, a fresh state folder under build/test.

A module says what its weir is like by HANDLERS = {file: text}, SCHEMA = SQL and ENV = {setting: value}, and with
DATABASES = ("sqlite", "postgresql") its tests of `weir` run once on each.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))

import kafka  # noqa: E402  (found by the line above)
import postgres as pg  # noqa: E402
import processes  # noqa: E402
import redis_server  # noqa: E402
import weir as house  # noqa: E402

FOLDER = os.path.join(house.ROOT, "build", "test")


# A full disk is a small one of our own, which needs a mount namespace; some containers have none to give.
UNSHARE = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--mount"]
CAN_MOUNT = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0
collect_ignore = [] if CAN_MOUNT else ["test_65_full_disk.py"]


def pytest_report_header():
    return None if CAN_MOUNT else "full-disk tests are left out: this machine allows no mount namespace"


def pytest_configure(config):
    config.addinivalue_line("markers", "storm: kills and stops processes at random under load")


def pytest_generate_tests(metafunc):
    databases = getattr(metafunc.module, "DATABASES", None)
    if databases and "weir" in metafunc.fixturenames:
        metafunc.parametrize("weir", databases, indirect=True, scope="module")


def pytest_sessionfinish(session):
    """Nothing may be left running; what is left is named, and the run fails."""
    left = [(pid, processes.command_of(pid)) for pid in processes.children_of(os.getpid())]
    if left:
        print(f"\nstill running: {left}")
        session.exitstatus = 1


@pytest.fixture(scope="session")
def binary():
    path = os.environ.get("WEIR_TEST_BINARY", os.path.join(house.ROOT, "build", "weir"))
    assert os.access(path, os.X_OK), f"{path} is not there: run make"
    return path


def new_folder():
    os.makedirs(FOLDER, exist_ok=True)
    return tempfile.mkdtemp(prefix="", dir=FOLDER)


@pytest.fixture
def new_state():
    """An empty state folder for who starts weir by other means."""
    folder = new_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def atlas_db():
    """The embedded database with the demo data, loaded once and copied for each weir."""
    folder = new_folder()
    house.load_atlas(folder)
    yield os.path.join(folder, "weir.db")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres():
    """A primary, a streaming replica and PgBouncer, shared by who does nothing to them."""
    servers = pg.Servers()
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def module_postgres():
    """A primary and PgBouncer of this module's own: a test may stall and kill them, and the next one finds them at work."""
    servers = pg.Servers(replicas=0)
    yield servers
    servers.stop()


@pytest.fixture
def make_postgres(request):
    """Servers of this test's own, which may do to them what it likes."""

    def make(**how):
        made = pg.Servers(**how)
        request.addfinalizer(made.stop)
        return made

    return make


@pytest.fixture(scope="session")
def weirs(request, binary, atlas_db):
    """Makes a Weir that is not started yet, and keeps nothing."""

    def make(handlers=None, env=None, schema=None, atlas=False, front=True, database=None, kind=house.Weir):
        folder = new_folder()
        folders = [house.write_handlers(os.path.join(folder, "handlers"), handlers)] if handlers else []
        return kind(folder, binary, folders, env, atlas_db if atlas else None, schema, front, database)

    return make


def end(weir, request):
    failed_before = request.session.testsfailed
    try:
        weir.stop()
    finally:
        if failed_before == 0:  # else somebody will want to read the logs
            shutil.rmtree(weir.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def end_weir():
    """For the finalizers of modules that start a weir in their own way."""
    return end


@pytest.fixture(scope="module")
def weir(request, weirs):
    """The module's own, shared by its tests: none of them may break it.  Without HANDLERS it serves atlas."""
    settings = [getattr(request.module, name, None) for name in ("HANDLERS", "ENV", "SCHEMA")]
    atlas = settings[0] is None
    database = None
    if getattr(request, "param", "sqlite") == "postgresql":
        database = request.getfixturevalue("postgres").database(house.atlas_sql() if atlas else None)
    made = weirs(*settings, atlas=atlas, database=database)
    request.addfinalizer(lambda: end(made, request))
    return made.start()


@pytest.fixture
def make_weir(request, weirs):
    """Makes and starts a weir for one test, which may do to it what it likes."""

    def make(handlers=None, env=None, schema=None, start=True, **how):
        made = weirs(handlers, env, schema, **how)
        request.addfinalizer(lambda: end(made, request))
        return made.start() if start else made

    return make


@pytest.fixture
def make_redis(request):
    """Makes and starts a Redis for one test, which may do to it what it likes."""

    def make(**how):
        folder = new_folder()
        made = redis_server.Redis(folder, **how)

        def end_redis():
            made.stop()
            shutil.rmtree(folder, ignore_errors=True)

        request.addfinalizer(end_redis)
        return made.start()

    return make


@pytest.fixture(scope="session")
def one_broker():
    folder = new_folder()
    broker = kafka.Kafka(folder)
    try:
        yield broker.start()
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def broker(one_broker):
    """A real Kafka, which a test may stop and freeze: the next one finds it at work again."""
    yield one_broker
    if one_broker.process.poll() is not None:
        one_broker.start()
    one_broker.thaw()
    one_broker.wait()


@pytest.fixture
def mute_resolver(tmp_path):
    """A command that runs another where names are asked of somebody who never answers."""
    if not CAN_MOUNT:  # then .invalid is left, which a good resolver denies
        yield []
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        address = "127.53.53.53"
        try:
            mute.bind((address, 53))
        except PermissionError:
            address = "192.0.2.1"  # kept for documentation: nobody is there
        resolv = tmp_path / "resolv.conf"
        resolv.write_text(f"nameserver {address}\noptions timeout:30 attempts:5\n")
        script = f'mount --bind {resolv} "$(readlink -f /etc/resolv.conf)" && exec "$@"'
        yield [*UNSHARE, "sh", "-c", script, "sh"]
