"""Runs test programs and pytest, and ends with `N passed, N failed`.

    run_tests.py [--under "COMMAND ARGS"] "PROGRAM ARGS"... [--pytest FOLDER]

A program ends with such a line itself; one that does not (it crashed, or a sanitizer stopped it) is one
failure more.  Without a single test there is nothing to be proud of: that fails too.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys

import pytest

SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed$")


def run_program(under, argv):
    """Passes the output on as it comes, and returns (passed, failed)."""
    name = os.path.relpath(argv[0])
    print(f"== {name}", flush=True)
    passed = failed = 0
    complete = False
    with subprocess.Popen(under + argv, stdout=subprocess.PIPE, text=True, errors="replace") as program:
        for line in program.stdout:
            print(line, end="", flush=True)
            found = SUMMARY.match(line.rstrip())
            if found:
                passed, failed = map(int, found.groups())
                complete = True
    if not complete or (program.returncode != 0 and failed == 0):
        print(f"FAILED {name}: ended with {program.returncode}", flush=True)
        failed += 1
    return passed, failed


class Counter:
    """Counts tests, not phases: one that fails in its teardown has failed, and only once."""

    def __init__(self):
        self.outcomes = {}

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.outcomes[report.nodeid] = False
        elif report.when == "call" and report.passed:
            self.outcomes.setdefault(report.nodeid, True)

    def pytest_collectreport(self, report):
        if report.failed:
            self.outcomes[report.nodeid] = False


def run_pytest(folder):
    print(f"== {folder}", flush=True)
    counter = Counter()
    code = pytest.main(["-q", "-p", "no:cacheprovider", folder], plugins=[counter])
    passed = sum(counter.outcomes.values())
    failed = len(counter.outcomes) - passed
    if code != 0 and failed == 0:
        failed = 1  # interrupted, or nothing was collected
    return passed, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", nargs="*")
    parser.add_argument("--under", default="", help="runs each program under this command")
    parser.add_argument("--pytest", help="folder of pytest files")
    args = parser.parse_args()

    results = [run_program(shlex.split(args.under), shlex.split(p)) for p in args.programs]
    if args.pytest:
        results.append(run_pytest(args.pytest))
    passed = sum(r[0] for r in results)
    failed = sum(r[1] for r in results)
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(0 if failed == 0 and passed > 0 else 1)


if __name__ == "__main__":
    main()
