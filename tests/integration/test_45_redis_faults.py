"""Goal: whatever happens to Redis, limits, copies, purges and keys go on together, and when it is over nothing is wrong.

Two hosts share two shards.  One test for each fault; what is asked for during it and after it is always the same.
"""

import os
import time

import pytest

import processes
import redis_server

SCHEMA = "CREATE TABLE jots (tenant TEXT, id TEXT, text TEXT);"

HANDLERS = {
    "copy.sql": "-- GET /t/copies/:id\n-- param id: text\n-- cache: 1h\n-- tags: copy-:id\n"
    "SELECT lower(hex(randomblob(8))) AS nonce, :id AS id;\n",
    "limited.sql": "-- GET /t/limited\n-- limit: 20/h by ip\nSELECT 1 AS one;\n",
    "jot_add.sql": "-- POST /t/jots\n-- body text: text\nINSERT INTO jots (tenant, id, text) VALUES (:tenant, :idempotency_key, :text);\n",
}


class Fleet:
    """Hosts a and b, their shards, and somebody before each shard who may slow it down."""

    def __init__(self, folder, make_host):
        self.shards = [redis_server.Redis(folder, f"redis-{i}", unix=True).start() for i in range(2)]
        self.slow = [redis_server.Trickle(os.path.join(folder, f"slow-{i}"), shard.address) for i, shard in enumerate(self.shards)]
        urls = ",".join("unix:" + slow.path for slow in self.slow)
        settings = {"REDIS_URL": urls, "REDIS_TIMEOUT": "250ms", "CIRCUIT_BREAKER_RESET_TIMEOUT": "200ms"}
        self.hosts = self.a, self.b = [make_host(HANDLERS, settings, SCHEMA, front=False) for _ in range(2)]

    def configure(self, **settings):
        for shard in self.shards:
            for name, value in settings.items():
                shard.call("CONFIG", "SET", name.replace("_", "-"), value)

    def trickle(self, slow):
        for one in self.slow:
            one.slow = slow

    def stop(self):
        self.trickle(False)
        for slow, shard in zip(self.slow, self.shards):
            slow.close()
            shard.stop()


def of_all(method):
    return lambda fleet: [getattr(shard, method)() for shard in fleet.shards]


def of_one(method):
    return lambda fleet: getattr(fleet.shards[0], method)()


def nothing(fleet):
    """It was over at once."""


# What breaks it, and what mends it.
FAULTS = {
    "killed": (of_all("kill"), of_all("start")),
    "stopped": (of_all("suspend"), of_all("resume")),
    "trickling": (lambda fleet: fleet.trickle(True), lambda fleet: fleet.trickle(False)),
    "emptied": (of_all("restart"), nothing),
    "without-scripts": (lambda fleet: [shard.call("SCRIPT", "FLUSH") for shard in fleet.shards], nothing),
    "evicting": (
        lambda fleet: fleet.configure(maxmemory_policy="allkeys-lru", maxmemory="1mb"),
        lambda fleet: fleet.configure(maxmemory="0"),
    ),
    "without-memory": (
        lambda fleet: fleet.configure(maxmemory_policy="noeviction", maxmemory="1mb"),
        lambda fleet: fleet.configure(maxmemory="0"),
    ),
    "one-killed": (of_one("kill"), of_one("start")),
    "one-stopped": (of_one("suspend"), of_one("resume")),
}


@pytest.fixture(scope="module")
def fleet(weirs, tmp_path_factory):
    made = []

    def make_host(*how, **more):
        made.append(weirs(*how, **more))
        return made[-1].start()

    built = Fleet(str(tmp_path_factory.mktemp("redis")), make_host)
    yield built
    for weir in made:
        weir.stop()
    built.stop()


def nonce(weir, name):
    reply = weir.fcgi("GET", f"/t/copies/{name}")
    assert reply.status == 200, reply
    return reply.json()[0]["nonce"]


def write(weir, key):
    reply = weir.fcgi_post("/t/jots", {"text": "x"}, key)
    assert reply.status == 202, reply
    return reply.header("Idempotent-Replayed") == "true"


def admitted(weir, client, count):
    with weir.connect() as connection:
        statuses = [connection.request("GET", "/t/limited", address=client).status for _ in range(count)]
    assert set(statuses) <= {200, 429}
    return statuses.count(200)


def shared_copies(fleet, what):
    """{name: nonce} of copies that both hosts have in L1, on either shard; None while they do not share."""
    names = [f"{what}-{time.monotonic_ns()}-{i}" for i in range(8)]
    found = {name: nonce(fleet.a, name) for name in names}
    return found if found == {name: nonce(fleet.b, name) for name in names} else None


@pytest.mark.parametrize("fault", FAULTS)
def test_all_goes_on_and_nothing_is_wrong_afterwards(fleet, fault):
    spoil, mend = FAULTS[fault]
    before = processes.wait_until(lambda: shared_copies(fleet, fault), "the end of what was before")
    keys = {weir: [f"{fault}-{i}-{n}" for n in range(8)] for i, weir in enumerate(fleet.hosts)}
    number = list(FAULTS).index(fault)
    clients = [f"198.51.{number}.{i}" for i in range(4)]
    spoil(fleet)
    try:
        for weir in fleet.hosts:
            assert not any(write(weir, key) for key in keys[weir])
            assert all(write(weir, key) for key in keys[weir]), "each host knows its own"
            assert all(admitted(weir, client, 25) <= 20 for client in clients)
            for name in before:
                nonce(weir, name)
        fleet.a.command("purge", *[f"copy-{name}" for name in before])  # what it could not tell it owes
    finally:
        mend(fleet)
    for weir in fleet.hosts:
        for name, old in before.items():
            processes.wait_until(lambda: nonce(weir, name) != old, f"the purge of {name}")
    processes.wait_until(lambda: shared_copies(fleet, "after"), "copies for both")
    assert not [name for name, old in before.items() for weir in fleet.hosts if nonce(weir, name) == old], "none comes back"
    for weir in fleet.hosts:
        processes.wait_until(lambda: weir.status()["spool"]["waiting"] == 0, "all to be applied")
        written = [row[0] for row in weir.rows("SELECT id FROM jots WHERE id LIKE ? ORDER BY id", f"{fault}-_-_")]
        assert written == sorted(keys[weir])
        assert weir.rows("SELECT count(*) FROM weir_dead_letters") == [(0,)]
