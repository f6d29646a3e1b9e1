"""What is slow about packaging: systems made by debootstrap, and what is built and installed in them.

`make test-packages` runs it, as root; the rest of packaging is tests/integration/test_95_package.py.
"""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))


def pytest_sessionstart(session):
    if os.getuid() != 0:
        pytest.exit("chroots are root's: run `make test-packages` as root", returncode=1)
