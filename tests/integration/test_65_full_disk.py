"""Goal: on a full disk nothing is acknowledged that is not durable, and reads go on.

weir runs in a mount namespace of its own, where the state folder or /dev/shm is a small tmpfs.
"""

import os

import processes
import weir as house
from conftest import UNSHARE

SCHEMA = "CREATE TABLE jots (id TEXT, text TEXT);"

HANDLERS = {
    "jot.sql": "-- POST /t/jots\n-- body text: text\nINSERT INTO jots (id, text) VALUES (:idempotency_key, :text);\n",
    "list.sql": "-- GET /t/jots\nSELECT id FROM jots ORDER BY id;\n",
}


def on_tmpfs(make_weir, mount_point, size, **env):
    """A weir whose `mount_point` is a tmpfs of `size`; its sockets are where we can reach them."""
    weir = make_weir(HANDLERS, schema=SCHEMA, start=False, front=False)
    sockets = {"WEIR_LISTEN": weir.folder + "/weir.sock", "WEIR_ADMIN_LISTEN": weir.folder + "/admin.sock"}
    weir.env.update({name: "unix:" + path for name, path in sockets.items()}, **env)
    weir.listen, weir.admin_listen = weir.env["WEIR_LISTEN"], weir.env["WEIR_ADMIN_LISTEN"]
    house.make_state(weir.state)
    weir.make_database()
    database = os.path.join(weir.state, "weir.db")
    script = f"""set -e
        cp -p '{database}' '{weir.folder}/weir.db'
        mount -t tmpfs -o size={size},mode=0700 tmpfs '{mount_point or weir.state}'
        cp -p '{weir.folder}/weir.db' '{database}'
        exec "$0" "$@" """
    weir.serve_prefix = [*UNSHARE, "sh", "-c", script]
    return weir


def inside(weir, path):
    """A path as weir's processes see it."""
    return f"/proc/{weir.serve.pid}/root{path}"


def fill(path):
    """A file that takes all the room that is left."""
    with open(path, "wb", buffering=0) as f:
        try:
            while f.write(b"x" * 65536):
                pass
        except OSError:
            pass


def test_a_full_disk_is_503_for_writes_and_nothing_for_reads(make_weir):
    weir = on_tmpfs(make_weir, None, "96m", WEIR_CACHE_BYTES="1m", WEIR_SPOOL_BYTES="16m")
    weir.start_serve()
    weir.wait_healthy()
    accepted = [f"before-{i}" for i in range(5)]
    assert {weir.fcgi_post("/t/jots", {"text": "x"}, key).status for key in accepted} == {202}
    processes.wait_until(lambda: len(weir.fcgi("GET", "/t/jots").json()) == 5, "their application")

    filler = inside(weir, weir.state) + "/filler"
    fill(filler)
    for i in range(20):
        reply = weir.fcgi_post("/t/jots", {"text": "y" * 4000}, f"full-{i}")
        assert reply.status == 503
        assert int(reply.header("Retry-After")) >= 1
    assert weir.fcgi("GET", "/t/jots").status == 200
    assert weir.fcgi("GET", "/api/v1/health").status == 200

    os.unlink(filler)

    def accepted_again():
        return weir.fcgi_post("/t/jots", {"text": "z"}, "after").status == 202

    processes.wait_until(accepted_again, "room to be noticed")
    want = sorted(accepted + ["after"])
    processes.wait_until(lambda: len(weir.fcgi("GET", "/t/jots").json()) >= len(want), "the last write")
    assert [row["id"] for row in weir.fcgi("GET", "/t/jots").json()] == want


def test_a_full_shared_memory_falls_back_to_the_state_folder(make_weir):
    weir = on_tmpfs(make_weir, "/dev/shm", "256k")
    weir.start_serve()
    weir.wait_healthy()
    with open(os.path.join(weir.state, "segment")) as f:
        assert weir.state in f.read()
    assert weir.fcgi_post("/t/jots", {"text": "x"}, "k1").status == 202
    processes.wait_until(lambda: weir.fcgi("GET", "/t/jots").json() == [{"id": "k1"}], "its application")
