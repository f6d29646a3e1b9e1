"""Goal: the checks of `make lint` see what they are there for, and the README's tables are those of the code."""

import os
import re
import shutil
import subprocess

import pytest

import weir as house

LINT = os.path.join(house.ROOT, "tests", "lint")


def header(path, *lines):
    guard = path.removeprefix("app/").replace("/", "_").replace(".", "_").upper()
    return "\n".join([f"#ifndef {guard}", f"#define {guard}", "/* What it is for. */", *lines, "#endif", ""])


def source(*lines):
    return "\n".join(["/* What is in this room. */", *lines, ""])


@pytest.fixture
def lint(tmp_path):
    """Runs one check on a tree that has only these files."""

    def run(check, files):
        shutil.copytree(LINT, tmp_path / "tests" / "lint", ignore=shutil.ignore_patterns("*.c"))
        for folder in ("app/base", "handlers", "tests/unit/base"):
            os.makedirs(tmp_path / folder)
        for path, text in files.items():
            os.makedirs(tmp_path / os.path.dirname(path), exist_ok=True)
            (tmp_path / path).write_text(text)
        return subprocess.run([tmp_path / "tests" / "lint" / check], capture_output=True, text=True)

    return run


def test_the_project_itself_is_clean():
    for check in ("floors", "files"):
        run = subprocess.run([os.path.join(LINT, check)], capture_output=True, text=True)
        assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_includes_that_go_down_are_allowed(lint):
    run = lint(
        "floors",
        {
            "app/base/str.h": header("app/base/str.h", '#include "base/err.h"'),
            "app/base/err.h": header("app/base/err.h"),
            "app/policy/limiter.c": source('#include "base/str.h"'),
            "app/client/fcgi.c": source('#include "http/request.h"', "#include <fcgiapp.h>"),
            "handlers/health.c": source('#include "pipeline/handler.h"', '#include "handlers/handlers.h"'),
            "app/main.c": source('#include "cmd/command.h"', '#include "runtime/config.h"'),
            "tests/unit/base/test_str.c": source('#include "base/str.h"', '#include "tests/support/unit.h"'),
        },
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


@pytest.mark.parametrize(
    "path, include, complaint",
    [
        ("app/policy/backoff.c", '"pipeline/exchange.h"', "policy may not include pipeline/exchange.h"),
        ("app/http/router.c", '"telemetry/trace.h"', "http may not include telemetry/trace.h"),
        ("app/client/lmdb.c", '"http/request.h"', "client may not include http/request.h"),
        ("handlers/health.c", '"pipeline/exchange.h"', "handlers may not include pipeline/exchange.h"),
        ("app/runtime/worker.c", '"handlers/handlers.h"', "runtime may not include handlers/handlers.h"),
        ("app/base/err.h", '"http/value.h"', "base may not include http/value.h"),
        ("tests/unit/base/test_str.c", '"service/store.h"', "base may not include service/store.h"),
        ("app/base/str.c", '"err.h"', "spell the include from its floor: err.h"),
        ("app/service/store.c", "<sqlite3.h>", "<sqlite3.h> has its only home in app/client/sqlite.c"),
        ("app/base/hash.c", "<nettle/sha2.h>", "<nettle/sha2.h> has its only home in app/base/digest.c"),
    ],
)
def test_an_include_that_goes_up_is_named_with_file_and_line(lint, path, include, complaint):
    text = header(path, f"#include {include}") if path.endswith(".h") else source(f"#include {include}")
    run = lint("floors", {path: text})
    line = 4 if path.endswith(".h") else 2
    assert run.returncode == 1 and run.stdout == f"{path}:{line}: {complaint}\n"


def test_headers_in_a_ring_are_found(lint):
    run = lint(
        "floors",
        {
            "app/base/one.h": header("app/base/one.h", '#include "base/two.h"'),
            "app/base/two.h": header("app/base/two.h", '#include "base/one.h"'),
        },
    )
    assert run.returncode == 1 and "base/one.h" in run.stdout


@pytest.mark.parametrize(
    "path, text, complaint",
    [
        ("app/base/x.c", source("static void", "f(void)", "{", *["\t;"] * 80, "}"), "a function of 81 lines"),
        ("app/base/x.c", source(*["int x;"] * 800), "a file of 801 lines"),
        ("app/base/x.h", header("app/base/y.h"), "want #ifndef BASE_X_H"),
        ("app/base/x.h", header("app/base/x.h") + "int x;\n", "the guard ends"),
        ("app/base/x.c", "int x;\n", "no plate on the door"),
        ("app/base/x.c", source("/* TO" + "DO */"), "unfinished"),
    ],
)
def test_the_shape_of_a_file_is_checked(lint, path, text, complaint):
    run = lint("files", {path: text})
    assert run.returncode == 1 and complaint in run.stdout


def test_a_long_table_is_free(lint):
    run = lint("files", {"app/base/x.c": source("static const int t[] = {", *["\t1,"] * 200, "};")})
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_the_tables_of_the_readme_are_those_of_the_code():
    generator = os.path.join(house.ROOT, "build", "gen_docs")
    run = subprocess.run([os.path.join(LINT, "docs"), "--check", generator], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_readme_names_every_command(binary):
    listed = subprocess.run([binary, "--help"], capture_output=True, text=True).stdout
    commands = re.findall(r"^  ([a-z]+)  ", listed, re.MULTILINE)
    with open(os.path.join(house.ROOT, "README.md")) as f:
        table = re.findall(r"^\| `weir ([a-z]+)", f.read(), re.MULTILINE)
    assert len(commands) >= 12 and sorted(commands) == sorted(table)


def test_every_heading_that_the_readme_points_to_is_there():
    with open(os.path.join(house.ROOT, "README.md")) as f:
        text = f.read()
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings
