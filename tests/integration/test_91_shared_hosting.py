"""Goal: one program, one .htaccess and a folder of SQL files in a web root are a whole weir, with mod_fcgid and as CGI."""

import os
import shutil
import threading
import time

import apache
import conftest
import processes
import pytest
import shared_host
import weir as house

HANDLERS = {
    "one.sql": "-- GET /api/v1/one\n-- column one: integer\nSELECT 1 AS one;\n",
    "kept.sql": "-- GET /api/v1/kept\n-- cache: 10m\n-- column n: integer\nSELECT count(*) AS n FROM jots;\n",
    "few.sql": "-- GET /api/v1/few\n-- limit: 5/h\n-- column one: integer\nSELECT 1 AS one;\n",
    "jots.sql": "-- GET /api/v1/jots\n-- column id: text\nSELECT id FROM jots ORDER BY id;\n",
    "jot.sql": "-- POST /api/v1/jots\n-- max-body: 900k\n-- body text: text\n-- invalidates: kept\n"
    "INSERT INTO jots (id, text) VALUES (:idempotency_key, :text);\n",
    "who.sql": "-- GET /api/v1/who\n-- auth: optional\n-- column tenant: text\nSELECT :tenant AS tenant;\n",
}
SCHEMA = "CREATE TABLE jots (id text PRIMARY KEY, text text);"
FRONTS = ["fcgid", "cgid"]


@pytest.fixture
def make_host(request, binary):
    def make(start=True, **how):
        folder = conftest.new_folder()
        host = shared_host.SharedHost(folder, binary, how.pop("handlers", HANDLERS), how.pop("schema", SCHEMA), **how)

        def end():
            host.stop()
            shutil.rmtree(folder, ignore_errors=True)

        request.addfinalizer(end)
        return host.start() if start else host

    return make


def bearer(host, tenant):
    made = host.command("key", "add", tenant)
    assert made.returncode == 0, made
    return next(word for word in made.stdout.split() if word.startswith("weir_")), made


@pytest.mark.parametrize("sub", ["", "app"])
@pytest.mark.parametrize("front", FRONTS)
def test_reads_cache_and_errors(make_host, front, sub):
    host = make_host(module=front, sub=sub)
    assert host.get("/api/v1/one").json() == [{"one": 1}]
    first, second = host.get("/api/v1/kept"), host.get("/api/v1/kept")
    assert "stored" in first.header("Cache-Status") and "hit" in second.header("Cache-Status")
    same = host.get("/api/v1/kept", {"If-None-Match": first.header("ETag")})
    assert (same.status, same.body) == (304, b"")
    head = host.request("HEAD", "/api/v1/one")
    assert (head.status, head.body, head.header("Content-Length")) == (200, b"", "11")
    assert host.request("OPTIONS", "/api/v1/one").status == 204
    missing = host.get("/api/v1/nothing")
    assert (missing.status, missing.header("Content-Type")) == (404, "application/problem+json")
    assert host.get("/api/v1/health").json() == {"status": "ok"}
    # Where no rewriting is to be had, the program's own address will do.
    assert host.get("/weir.fcgi/api/v1/one").json() == [{"one": 1}]


@pytest.mark.parametrize("front", FRONTS)
def test_writes_are_applied_and_purge(make_host, front):
    host = make_host(module=front)
    assert host.get("/api/v1/kept").json() == [{"n": 0}]
    accepted = host.post("/api/v1/jots", {"text": "x"}, "k1")
    assert accepted.status == 202, accepted
    assert accepted.header("Location").startswith("/api/v1/operations/")
    processes.wait_until(lambda: host.rows("SELECT id, text FROM jots") == [("k1", "x")], "the write")
    processes.wait_until(lambda: host.get("/api/v1/kept").json() == [{"n": 1}], "the purge")
    assert host.post("/api/v1/jots", {"text": "x"}, "k1").status == 202
    assert host.post("/api/v1/jots", {"text": "other"}, "k1").status == 422


@pytest.mark.parametrize("front", FRONTS)
def test_a_limit_is_one_for_all_processes(make_host, front):
    host = make_host(module=front)
    statuses = [r.status for r in house.all_at_once(15, lambda i: host.get("/api/v1/few"))]
    assert sorted(statuses) == [200] * 5 + [429] * 10


@pytest.mark.parametrize("sub", ["", "app"])
def test_nothing_is_given_out_but_answers(make_host, sub):
    host = make_host(sub=sub)
    assert host.post("/api/v1/jots", {"text": "secret"}, "k1").status == 202
    for name in ("/.env", "/.htaccess", "/handlers/one.sql", "/handlers/", "/var/", "/var/weir.db", "/var/spool/data.mdb", "/var/.htaccess"):
        reply = host.get(name)
        assert reply.status in (403, 404), (name, reply)
        assert b"SELECT" not in reply.body and b"secret" not in reply.body and b"WEIR_" not in reply.body
    program = host.get("/weir.fcgi")
    assert program.status == 404 and b"ELF" not in program.body
    assert os.stat(host.state).st_mode & 0o777 == 0o700


REWRITTEN = "RewriteEngine On\nRewriteRule ^ - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]"


@pytest.mark.parametrize("how", ["CGIPassAuth", "rewrite"])
@pytest.mark.parametrize("front", FRONTS)
def test_authorization_arrives(make_host, front, how):
    with open(shared_host.HTACCESS) as f:
        text = f.read()
    if how == "rewrite":
        text = text.replace("\nCGIPassAuth On\n", "\n").replace("\nRewriteEngine On", "\n" + REWRITTEN)
        assert "\nCGIPassAuth" not in text
    if front == "cgid":
        text = text.replace("SetHandler fcgid-script", "SetHandler cgi-script")
    host = make_host(module=front, htaccess=text)
    key, made = bearer(host, "acme")
    assert host.get("/api/v1/who", {"Authorization": "Bearer " + key}).json() == [{"tenant": "acme"}], made
    assert host.get("/api/v1/who", {"X-API-Key": key}).json() == [{"tenant": "acme"}]
    assert host.get("/api/v1/who", {"Authorization": "Bearer " + key[:-1] + ("1" if key[-1] == "0" else "0")}).status == 401


def test_no_client_says_who_it_is(make_host):
    host = make_host()
    for name in ("TENANT_ID", "Tenant-Id", "tenant-id", "REDIRECT_TENANT_ID", "Redirect-Tenant-Id"):
        assert host.get("/api/v1/who", {name: "acme"}).json() == [{"tenant": ""}], name


def test_a_query_string_is_no_command_line(make_host):
    """A front makes arguments of a query string without "=" (RFC 3875, section 4.4)."""
    host = make_host(module="cgid")
    host.get("/api/v1/kept")
    for query in ("purge+--all", "--help", "consume+--once", "key+add+me"):
        reply = host.get("/api/v1/kept?" + query)
        assert reply.status == 200 and "hit" in reply.header("Cache-Status"), query


def test_edited_files_count_and_broken_ones_stay_as_they_were(make_host):
    host = make_host()
    assert host.get("/api/v1/one").json() == [{"one": 1}]
    host.write("handlers/one.sql", HANDLERS["one.sql"].replace("SELECT 1", "SELECT 2"))
    host.write("handlers/new.sql", HANDLERS["one.sql"].replace("/one\n", "/new\n"))
    processes.wait_until(lambda: host.json("/api/v1/one") == [{"one": 2}], "the edited file")
    processes.wait_until(lambda: host.get("/api/v1/new").status == 200, "the new file")
    host.write("handlers/one.sql", "-- GET /api/v1/one\n-- no-such: thing\nSELECT 3 AS one;\n")
    host.write("handlers/new.sql", HANDLERS["one.sql"].replace("/one\n", "/new\n").replace("SELECT 1", "SELECT 4"))
    processes.wait_until(lambda: host.get("/api/v1/new").json() == [{"one": 4}], "the good one of the two")
    assert host.get("/api/v1/one").json() == [{"one": 2}]
    broken = host.log_lines("endpoint_file_broken")
    assert {line["file"] for line in broken} == {os.path.join(host.web, "handlers", "one.sql")}
    # A process that starts now serves what the others serve.
    old = host.apache.weirs()
    host.kill(old)
    processes.wait_until(lambda: host.get("/api/v1/one").status == 200 and set(host.apache.weirs()) - set(old), "a new process")
    processes.wait_until(lambda: host.json("/api/v1/one") == [{"one": 2}], "its answer")
    os.unlink(os.path.join(host.web, "handlers", "new.sql"))
    processes.wait_until(lambda: host.get("/api/v1/new").status == 404, "the end of the deleted one")
    host.write("handlers/one.sql", HANDLERS["one.sql"])
    processes.wait_until(lambda: host.json("/api/v1/one") == [{"one": 1}], "the mended file")


def test_a_write_of_a_new_file_is_applied_by_a_consumer_that_runs(make_host):
    host = make_host()
    assert host.post("/api/v1/jots", {"text": "x"}, "k1").status == 202
    processes.wait_until(lambda: host.rows("SELECT id FROM jots") == [("k1",)], "the consumer at work")
    host.write("handlers/shout.sql", HANDLERS["jot.sql"].replace("/jots\n", "/shouts\n").replace(":text)", "upper(:text))"))
    processes.wait_until(lambda: host.get("/api/v1/shouts").status == 405, "the new file")
    accepted = [host.post("/api/v1/shouts", {"text": "loud"}, f"s{i}").status for i in range(3)]
    assert accepted == [202] * 3
    processes.wait_until(lambda: host.rows("SELECT text FROM jots WHERE id LIKE 's%'") == [("LOUD",)] * 3, "their writes")


def test_a_wrong_setting_is_answered_503_and_the_process_stays(make_host):
    host = make_host(env={"WEIR_CACHE_BYTES": "much"})
    reply = host.get("/api/v1/one")
    assert (reply.status, reply.header("Content-Type")) == (503, "application/problem+json")
    assert reply.header("Retry-After") and b"much" not in reply.body
    first = host.apache.weirs()
    assert len(first) == 1
    time.sleep(4)  # it looks again every three seconds: and says nothing new
    assert host.get("/api/v1/one").status == 503
    assert host.request("POST", "/api/v1/jots", {"Content-Type": "application/json"}, b"x" * 100000).status == 503
    assert set(first) <= set(host.apache.weirs())
    said = [line for line in host.log_lines("cannot_work") if line["pid"] == first[0]]
    assert len(said) == 1 and "WEIR_CACHE_BYTES" in said[0]["reason"]
    host.settings({"WEIR_CACHE_BYTES": "4m"})
    processes.wait_until(lambda: host.get("/api/v1/one").status == 200, "the mended setting")
    assert set(first) <= set(host.apache.weirs())


def test_a_broken_file_at_the_first_start_is_answered_503(make_host):
    host = make_host(handlers={**HANDLERS, "bad.sql": "-- GET /x\n-- no-such: thing\nSELECT 1;\n"})
    assert host.get("/api/v1/one").status == 503
    first = host.apache.weirs()
    os.unlink(os.path.join(host.web, "handlers", "bad.sql"))
    processes.wait_until(lambda: host.get("/api/v1/one").status == 200, "the rest")
    assert set(first) <= set(host.apache.weirs())


@pytest.mark.parametrize("front", FRONTS)
def test_a_lost_database_is_answered_503(make_host, front):
    host = make_host(module=front, schema="", env={"DB_WRITE_URL": "postgres://weir@127.0.0.1:1/weir", "DB_TIMEOUT": "300ms"})
    reply = host.get("/api/v1/one")
    assert reply.status == 503, reply
    assert host.post("/api/v1/jots", {"text": "x"}, "k1").status == 202
    assert host.get("/api/v1/health").status == 200


def test_cgi_with_a_wrong_setting_says_503(make_host):
    host = make_host(module="cgid", env={"WEIR_THREADS": "many"})
    assert host.get("/api/v1/one").status == 503
    assert host.log_lines("cannot_work")


HANDLER_ONLY = (
    "<Directory {root}>\n    Options +ExecCGI\n    <Files weir.fcgi>\n        SetHandler fcgid-script\n    </Files>\n"
    "    RewriteEngine On\n    RewriteCond %{{REQUEST_FILENAME}} !-f\n    RewriteRule ^ weir.fcgi [L]\n</Directory>\n"
)


def test_an_open_web_root_is_answered_503_with_the_reason(make_host, binary):
    host = make_host(start=False, htaccess="")
    with open(host.apache.config, "a") as f:
        f.write(HANDLER_ONLY.format(root=host.root))
    host.start()
    assert host.get("/handlers/one.sql").status == 200  # so it is well that weir refuses to work
    reply = host.get("/api/v1/one")
    assert reply.status == 503 and "document root" in reply.json()["detail"], reply
    processes.wait_until(lambda: host.log_lines("web_root_open"), "the log line")
    # What is denied folder by folder is good enough; the state folder's file is weir's own.
    assert "Require all denied" in open(os.path.join(host.state, ".htaccess")).read()
    host.write("handlers/.htaccess", "Require all denied\n")
    assert host.get("/handlers/one.sql").status == 403
    processes.wait_until(lambda: "settings" in host.get("/api/v1/one").json()["detail"], "the next of our files")
    os.rename(os.path.join(host.web, ".env"), os.path.join(host.folder, "env"))
    processes.wait_until(lambda: host.get("/api/v1/one").status == 200, "that nothing is open")
    # An inner file that grants overrides the outer one that denies.
    host.write("handlers/.htaccess", "Require all granted\n")
    processes.wait_until(lambda: host.get("/api/v1/one").status == 503, "that it is open again")


def test_the_shipped_htaccess_is_what_weir_looks_for(make_host):
    host = make_host()
    assert host.get("/api/v1/one").status == 200
    host.write(".htaccess", open(os.path.join(host.web, ".htaccess")).read().replace("Require expr", "#Require expr"))
    processes.wait_until(lambda: host.get("/api/v1/one").status == 503, "that it is open")


def test_a_body_over_128_kib_is_refused_by_mod_fcgid(make_host):
    host = make_host()
    assert host.post("/api/v1/jots", {"text": "x" * 120000}, "k1").status == 202
    assert host.post("/api/v1/jots", {"text": "x" * 140000}, "k2").status in (413, 500)
    assert host.get("/api/v1/one").status == 200


def test_no_dev_shm_is_needed(make_host):
    host = make_host(start=False)
    host.settings({"WEIR_SHM": os.path.join(host.state, "segment.file"), "WEIR_CACHE_BYTES": "4m", "WEIR_SPOOL_BYTES": "64m"})
    host.start()
    assert "stored" in host.get("/api/v1/kept").header("Cache-Status")
    assert "hit" in host.get("/api/v1/kept").header("Cache-Status")
    with open(os.path.join(host.state, "segment")) as f:
        assert f.read().strip() == os.path.join(host.state, "segment.file")


def test_a_frozen_front_leaves_writes_to_cron(make_host):
    """What no process applies any more, `weir consume --once` does."""
    host = make_host(module="cgid")
    host.get("/api/v1/one")
    apache.give_file(os.path.join(host.state, "consumer.want"), host.user)
    apache.give_file(os.path.join(host.state, "consumer.lock"), host.user)
    with house.consumer_place(host.state):
        assert host.post("/api/v1/jots", {"text": "x"}, "k1").status == 202
        time.sleep(1.5)
    assert host.rows("SELECT id FROM jots") == []
    host.apache.stop()
    done = host.command("consume", "--once")
    assert done.returncode == 0, done
    assert host.rows("SELECT id FROM jots") == [("k1",)]


def test_processes_that_are_idle_may_be_ended(make_host):
    """mod_fcgid sends TERM to those that are idle, and KILL after three seconds: limits begin anew, and nothing else is lost."""
    site = "FcgidIdleTimeout 1\nFcgidIdleScanInterval 1\nFcgidMinProcessesPerClass 0\nFcgidProcessLifeTime 1"
    host = make_host(site=site)
    for n in range(3):
        assert host.post("/api/v1/jots", {"text": "x"}, f"k{n}").status == 202
        assert host.get("/api/v1/one").status == 200
        processes.wait_until(lambda: host.apache.weirs() == [], "the end of all processes", 40)
    assert [row[0] for row in host.rows("SELECT id FROM jots ORDER BY id")] == ["k0", "k1", "k2"]
    assert not os.path.exists(os.path.join(host.state, "segment"))
    ends = [line for line in host.apache.log().splitlines() if "terminated by" in line]
    assert len(ends) >= 2 and all("terminated by calling exit(), return code: 0" in line for line in ends), ends


class Load:
    """Writers that never stop; what was answered 202 is remembered."""

    def __init__(self, host, writers=4):
        self.host = host
        self.accepted = []
        self.failed = 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(i,)) for i in range(writers)]
        for thread in self.threads:
            thread.start()

    def write(self, writer):
        n = 0
        while not self.stopping.is_set():
            key = f"{writer}-{n}"
            n += 1
            try:
                if self.host.post("/api/v1/jots", {"text": key}, key).status == 202:
                    self.accepted.append(key)
                else:
                    self.failed += 1
            except (OSError, house.http.client.HTTPException):
                self.failed += 1

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("victims", ["weirs", "httpds"])
def test_nothing_accepted_is_lost_when_children_are_killed(make_host, victims):
    host = make_host()
    assert host.post("/api/v1/jots", {"text": "first"}, "first").status == 202
    load = Load(host)
    try:
        for _ in range(6):
            time.sleep(0.7)
            host.kill(getattr(host.apache, victims)()[:2])
        killed_at = len(load.accepted)
        processes.wait_until(lambda: len(load.accepted) > killed_at + 20, "that it goes on", 40)
    finally:
        load.stop()
    want = {"first", *load.accepted}
    processes.wait_until(lambda: want <= {row[0] for row in host.rows("SELECT id FROM jots")}, "all that was accepted", 40)
    assert host.command("dlq", "list").stdout.count("jot") == 0
