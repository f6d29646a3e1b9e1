"""Goal: a wrong setting or endpoint file is said with file and line, all at once, and weir does not start."""

import json
import os
import re
import subprocess

import pytest

import weir as house

GOOD = "-- GET /t/good\nSELECT 1 AS one;\n"

# file text, line of the fault, words that the message must have
BAD_FILES = {
    "unknown directive": ("-- GET /t/x\n-- cahce: 1h\nSELECT 1 AS a;\n", 2, ["cahce", "cache"]),
    "undeclared parameter": ("-- GET /t/x\nSELECT\n :missing AS a;\n", 3, ["missing"]),
    "unused parameter": ("-- GET /t/x\n-- param a: text\nSELECT 1 AS a;\n", 2, ["a"]),
    "path parameter not declared": ("-- GET /t/x/:id\nSELECT 1 AS a;\n", 1, ["id"]),
    "parameter twice": ("-- GET /t/x\n-- param a: text\n-- param a: text\nSELECT :a AS a;\n", 3, ["a"]),
    "fields is reserved": ("-- GET /t/x\n-- param fields: text\nSELECT :fields AS a;\n", 2, ["fields"]),
    "unknown type": ("-- GET /t/x\n-- param a: texxt\nSELECT :a AS a;\n", 2, ["texxt", "text"]),
    "min over max": ("-- GET /t/x\n-- param a: integer, min 5, max 1\nSELECT :a AS a;\n", 2, []),
    "default out of range": ("-- GET /t/x\n-- param a: integer, max 1, default 5\nSELECT :a AS a;\n", 2, ["5"]),
    "no route": ("SELECT 1 AS a;\n", 1, []),
    "route without method": ("-- /t/x\nSELECT 1 AS a;\n", 1, []),
    "unknown method": ("-- FETCH /t/x\nSELECT 1 AS a;\n", 1, ["FETCH"]),
    "no statement": ("-- GET /t/x\n", None, []),
    "two statements": ("-- GET /t/x\nSELECT 1 AS a;\nSELECT 2 AS b;\n", 3, []),
    "sql that does not prepare": ("-- GET /t/x\nSELEKT 1 AS a;\n", 2, ["SELEKT"]),
    "double colon on sqlite": ("-- GET /t/x\n-- param a: text\nSELECT :a::integer AS a;\n", 3, ["CAST"]),
    "a read that writes": ("-- GET /t/x\nDELETE FROM weir_keys;\n", 2, []),
    "a read that writes behind with": ("-- GET /t/x\nWITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a RETURNING 1;\n", 2, []),
    "bad limit": ("-- GET /t/x\n-- limit: fast\nSELECT 1 AS a;\n", 2, ["fast"]),
    "bad duration": ("-- GET /t/x\n-- cache: 1 fortnight\nSELECT 1 AS a;\n", 2, []),
    "cache on a write": ("-- POST /t/x\n-- cache: 1h\nDELETE FROM a;\n", 2, ["cache"]),
    "body on a read": ("-- GET /t/x\n-- body a: text\nSELECT :a AS a;\n", 2, ["body"]),
    "directive twice": ("-- GET /t/x\n-- cache: 1h\n-- cache: 2h\nSELECT 1 AS a;\n", 3, ["cache"]),
    "bad auth": ("-- GET /t/x\n-- auth: maybe\nSELECT 1 AS a;\n", 2, ["maybe"]),
    "unknown tag parameter": ("-- GET /t/x\n-- cache: 1h\n-- tags: a-:nope\nSELECT 1 AS a;\n", 3, ["nope"]),
    "vary by something else": ("-- GET /t/x\n-- vary: cookie x\nSELECT 1 AS a;\n", 2, ["vary", "header NAME"]),
    "an unknown priority": ("-- GET /t/x\n-- priority: high\nSELECT 1 AS a;\n", 2, ["critical, normal or bulk"]),
    "bad read": ("-- GET /t/x\n-- read: secondary\nSELECT 1 AS a;\n", 2, ["secondary", "replica or primary"]),
    "bad topic": ("-- POST /t/x\n-- queue: a b\nDELETE FROM a;\n", 2, ["a b", "topic"]),
    "unknown partition key": ("-- POST /t/x\n-- key: :nope\nDELETE FROM a;\n", 2, ["nope"]),
    "cors to nobody": ("-- GET /t/x\n-- cors: example.org\nSELECT 1 AS a;\n", 2, ["cors"]),
    "run is later": ("-- POST /t/x\n-- run: now\nDELETE FROM a;\n", 2, ["later version"]),
    "NUL byte": ("-- GET /t/x\nSELECT 1 AS a\0;\n", None, []),
    "a string without end": ("-- GET /t/x\nSELECT 'abc AS a;\n", None, []),
}


@pytest.fixture
def bare(make_weir):
    """A weir with these files, not started."""

    def make(files, **env):
        weir = make_weir(files, env, start=False, front=False)
        house.make_state(weir.state)
        return weir

    return make


def faults(run):
    return [line for line in (run.stdout + run.stderr).splitlines() if ".sql" in line]


@pytest.mark.parametrize("text, line, words", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_broken_file_is_named_with_its_line(bare, text, line, words):
    check = bare({"good.sql": GOOD, "broken.sql": text}).command("check")
    assert check.returncode == 78, check
    found = [x for x in faults(check) if "broken.sql" in x]
    assert found, check
    assert not [x for x in faults(check) if "good.sql" in x]
    if line is not None:
        assert any(re.search(rf"broken\.sql:{line}: ", x) for x in found), found
    for word in words:
        assert any(word in x for x in found), found


def test_two_routes_that_collide_are_both_named(bare):
    check = bare(
        {
            "one.sql": "-- GET /t/:a\n-- param a: text\nSELECT :a AS a;\n",
            "two.sql": "-- GET /t/:b\n-- param b: text\nSELECT :b AS b;\n",
        }
    ).command("check")
    assert check.returncode == 78
    text = "\n".join(faults(check))
    assert "one.sql" in text and "two.sql" in text


def test_one_name_in_two_folders_is_a_fault(bare, tmp_path):
    weir = bare({"same.sql": GOOD})
    other = house.write_handlers(str(tmp_path), {"same.sql": "-- GET /t/other\nSELECT 1 AS a;\n"})
    check = weir.command("check", env={"WEIR_HANDLERS": weir.env["WEIR_HANDLERS"] + ":" + other})
    assert check.returncode == 78 and "same" in "\n".join(faults(check))


def test_all_faults_of_all_files_are_said_at_once(bare):
    files = {f"bad{i}.sql": text for i, (text, _, _) in enumerate(BAD_FILES.values())}
    weir = bare(files)
    check = weir.command("check")
    assert check.returncode == 78
    named = {name for name in files if any(name in line for line in faults(check))}
    assert named == set(files)
    two = bare({"both.sql": "-- GET /t/x\n-- cahce: 1h\n-- limit: fast\nSELECT :nope AS a;\n"}).command("check")
    assert len(faults(two)) >= 3


def test_serve_prints_every_fault_and_exits_78(bare):
    weir = bare({"bad1.sql": "-- GET /t/x\n-- cahce: 1h\nSELECT 1 AS a;\n", "bad2.sql": "-- GET /t/y\nSELEKT;\n"})
    serve = weir.command("serve")
    assert serve.returncode == 78
    assert {"bad1.sql:2", "bad2.sql:2"} <= set(re.findall(r"bad\d\.sql:\d", serve.stdout + serve.stderr))
    assert not os.path.exists(os.path.join(weir.state, "weir.sock"))


def test_a_good_folder_passes_check(bare):
    check = bare({"good.sql": GOOD}).command("check")
    assert check.returncode == 0, check


def test_a_warning_is_said_and_weir_starts(bare):
    check = bare({"warn.sql": "-- GET /t/x\n-- auth: required\nSELECT 1 AS a;\n"}).command("check")
    assert check.returncode == 0
    assert any("warn.sql" in line and "tenant" in line for line in faults(check))


def test_check_connect_finds_a_missing_table(bare):
    weir = bare({"missing.sql": "-- GET /t/x\nSELECT a FROM no_such_table;\n"})
    weir.make_database()
    assert weir.command("check").returncode == 0, "the schema may come later"
    connect = weir.command("check", "--connect")
    assert connect.returncode == 78
    assert any("no_such_table" in line for line in faults(connect))


# ---- Settings ----------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value",
    [
        ("WEIR_WORKERS", "many"),
        ("WEIR_WORKERS", "0"),
        ("WEIR_WORKERS", "-1"),
        ("WEIR_CACHE_BYTES", "12 parsecs"),
        ("WEIR_CACHE_BYTES", "99999999999999999999"),
        ("DB_TIMEOUT", "soon"),
        ("WEIR_LISTEN", "nowhere"),
        ("WEIR_LISTEN", "127.0.0.1:99999"),
        ("WEIR_TRUSTED_PROXIES", "300.0.0.0/8"),
        ("WEIR_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("RATE_LIMIT_ALGORITHM", "leaky-bucket"),
        ("RATE_LIMIT_POINTS", "1.5"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("WEIR_LISTEN_MODE", "rw-rw"),
        ("WEIR_HANDLERS", "/no/such/folder"),
    ],
)
def test_a_bad_setting_is_named_with_its_value_and_what_was_expected(bare, name, value):
    weir = bare({"good.sql": GOOD})
    for command in ("check", "serve"):
        run = weir.command(command, env={name: value})
        assert run.returncode == 78, run
        text = run.stdout + run.stderr
        assert name in text and value in text


def test_all_bad_settings_are_said_at_once(bare):
    env = {"WEIR_WORKERS": "many", "DB_TIMEOUT": "soon", "LOG_LEVEL": "loud"}
    check = bare({"good.sql": GOOD}).command("check", env=env)
    assert check.returncode == 78
    assert all(name in check.stdout + check.stderr for name in env)


def test_listening_beyond_loopback_without_an_allow_list_is_refused(bare):
    weir = bare({"good.sql": GOOD})
    run = weir.command("serve", env={"WEIR_LISTEN": "0.0.0.0:0"})
    assert run.returncode == 78 and "WEIR_LISTEN_ALLOW" in run.stdout + run.stderr


def test_a_secret_is_never_printed(bare):
    weir = bare({"good.sql": GOOD})
    for env in ({"DB_WRITE_URL": "postgres://user:hunter2@db/x"}, {"DB_WRITE_URL": "postgres://user:hunter2@db:x/x"}, {"DB_READ_URL": "postgres://hunter2"}, {"REDIS_URL": "redis://:hunter2@cache:6379/0"}, {"REDIS_URL": "redis://:hunter2"}):
        for command in ("check", "config"):
            run = weir.command(command, env=env)
            assert "hunter2" not in run.stdout + run.stderr


def test_a_dotenv_file_is_read_and_the_environment_wins(bare, tmp_path):
    weir = bare({"good.sql": GOOD})
    env_file = tmp_path / "weir.env"
    env_file.write_text('# a comment\nDB_TIMEOUT=7s\nLOG_LEVEL="warn"\nWEIR_THREADS=3\n')
    run = weir.command("config", "--env-file", str(env_file), env={"WEIR_THREADS": "5"})
    assert run.returncode == 0, run
    line = {name: next(x for x in run.stdout.splitlines() if name in x) for name in ("DB_TIMEOUT", "WEIR_THREADS")}
    assert "7s" in line["DB_TIMEOUT"] and "weir.env" in line["DB_TIMEOUT"]
    assert "5" in line["WEIR_THREADS"] and "environment" in line["WEIR_THREADS"]
    env_file.write_text("DB_TIMEOUT=7s\nthis is no setting\n")
    assert weir.command("config", "--env-file", str(env_file)).returncode == 78


# ---- The command line --------------------------------------------------------


def test_settings_of_librdkafka_are_shown_but_for_their_secrets(make_weir):
    weir = make_weir({}, {"KAFKA_CONFIG_SECURITY_PROTOCOL": "sasl_ssl"}, start=False)
    with open(os.path.join(weir.folder, ".env"), "w") as f:
        f.write("KAFKA_CONFIG_SASL_PASSWORD=s3cret\n")
    said = weir.command("config")
    assert said.returncode == 0 and "s3cret" not in said.stdout + said.stderr
    assert "KAFKA_CONFIG_SECURITY_PROTOCOL = sasl_ssl  (environment)" in said.stdout
    found = {v["name"]: v for v in json.loads(weir.command("config", "--json").stdout)}
    password = found["KAFKA_CONFIG_SASL_PASSWORD"]
    assert password["value"] == "***" and password["origin"].endswith(".env:1")
    assert "sasl.password" in password["meaning"]


@pytest.mark.parametrize("args", [["frobnicate"], ["serve", "--frob"], ["purge"], ["dlq"], ["dlq", "frob"], ["consume", "x"]])
def test_wrong_usage_is_2(bare, args):
    run = bare({"good.sql": GOOD}).command(*args)
    assert run.returncode == 2, run
    assert run.stderr


COMMANDS = "serve worker consume check config migrate status top purge dlq breaker key limit doctor".split()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(bare, command):
    run = bare({"good.sql": GOOD}).command(command, "--help")
    assert run.returncode == 0 and f"weir {command}" in run.stdout and "--env-file" in run.stdout


def test_weir_alone_on_a_terminal_says_how_to_use_it(binary):
    run = subprocess.run([binary], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert run.returncode == 2 and "serve" in run.stdout + run.stderr


def test_status_of_nothing_running_says_where_it_looked(bare):
    weir = bare({"good.sql": GOOD})
    run = weir.command("status")
    assert run.returncode == 1 and weir.state in run.stdout + run.stderr


def test_places_that_serve_could_not_use_are_found_by_check(bare, tmp_path):
    check = bare({"good.sql": GOOD}, LOG_FILE="/nowhere/weir.log", WEIR_THREADS="many").command("check")
    assert check.returncode == 78
    assert "LOG_FILE: /nowhere/weir.log" in check.stdout and "WEIR_THREADS" in check.stdout, check
    check = bare({"good.sql": GOOD}, LOG_FILE=str(tmp_path / "weir.log")).command("check")
    assert check.returncode == 0, check
    assert not (tmp_path / "weir.log").exists()  # who checks may be somebody else than who serves


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_what_is_no_file_is_named_and_never_waited_for(bare, make):
    weir = bare({"good.sql": GOOD})
    make(os.path.join(weir.env["WEIR_HANDLERS"].split(":")[-1], "odd.sql"))
    check = weir.command("check")
    assert check.returncode == 78
    assert [x for x in faults(check) if "odd.sql: a folder, pipe or device" in x], check


def test_a_state_folder_that_others_use_is_refused_and_left_open(bare, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "somebody's").touch()
    serve = bare({"good.sql": GOOD}, WEIR_STATE_DIR=str(tmp_path)).command("serve")
    assert serve.returncode == 78 and "holds other things" in serve.stderr, serve
    assert tmp_path.stat().st_mode & 0o777 == 0o755
