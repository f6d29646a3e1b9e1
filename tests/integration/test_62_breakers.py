"""Goal: a person looks at the breakers of a running weir, and is told what a wrong line should have been."""

import json

import pytest


def test_without_another_server_there_is_no_breaker(weir):
    said = weir.command("breaker", "list")
    assert (said.returncode, said.stdout) == (0, "no breakers: no other server is called\n"), said
    assert json.loads(weir.command("breaker", "list", "--json").stdout) == []
    assert weir.status()["breakers"] == []
    assert "breaker" not in weir.command("status").stdout


@pytest.mark.parametrize("order", ["open", "close", "auto"])
def test_an_order_for_a_name_that_is_not_there_fails(weir, order):
    said = weir.command("breaker", order, "redis-1")
    assert (said.returncode, said.stdout) == (1, ""), said
    assert "there is no breaker redis-1" in said.stderr


@pytest.mark.parametrize(
    "line, want",
    [
        ([], "expected list|open|close|auto"),
        (["shut", "redis-1"], "expected list, open, close or auto"),
        (["open"], "expected a NAME"),
        (["list", "redis-1"], "list takes no NAME"),
        (["open", "redis-1", "--json"], "--json belongs to list"),
        (["open", "redis-1", "redis-2"], "unexpected redis-2"),
    ],
)
def test_a_wrong_line_is_a_usage_error_that_says_what_was_expected(weir, line, want):
    said = weir.command("breaker", *line)
    assert (said.returncode, said.stdout) == (2, ""), said
    assert want in said.stderr


def test_where_nothing_runs_the_state_folder_is_named(make_weir):
    weir = make_weir(start=False)
    said = weir.command("breaker", "list")
    assert said.returncode == 1
    assert f"nothing is running on the state folder {weir.state}" in said.stderr


def test_the_settings_of_breakers_are_checked_as_any_other(weir):
    said = weir.command("config", env={"CIRCUIT_BREAKER_TIMEOUT": "3s", "CIRCUIT_BREAKER_THRESHOLD": "60%"})
    assert said.returncode == 0, said
    assert "CIRCUIT_BREAKER_VOLUME_THRESHOLD" in said.stdout
    for name, value in (("THRESHOLD", "101"), ("RESET_TIMEOUT", "soon"), ("VOLUME_THRESHOLD", "0"), ("TIMEOUT", "5%")):
        said = weir.command("config", env={f"CIRCUIT_BREAKER_{name}": value})
        assert said.returncode == 78, said
        assert f"CIRCUIT_BREAKER_{name} is" in said.stderr and value in said.stderr
