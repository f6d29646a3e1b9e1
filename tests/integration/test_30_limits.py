"""Goal: limits are exact and common to all workers, and a refusal costs nothing."""

import os
import re
import signal

import pytest

import processes
import weir as house

SCHEMA = "CREATE TABLE pings (id TEXT);"

READ = "SELECT 1 AS one;\n"

HANDLERS = {
    "five.sql": "-- GET /t/five\n-- limit: 5/h\n" + READ,
    "fifty.sql": "-- GET /t/fifty\n-- limit: 50/h\n-- cache: 1h\n" + READ,
    "burst.sql": "-- GET /t/burst\n-- limit: 1/h burst 8\n" + READ,
    "window.sql": "-- GET /t/window\n-- limit: 5/h sliding-window\n" + READ,
    "two.sql": "-- GET /t/two\n-- limit small: 3/h\n-- limit large: 10/h by ip\n" + READ,
    "observed.sql": "-- GET /t/observed\n-- limit watch: 2/h observe\n" + READ,
    "by_tenant.sql": "-- GET /t/by-tenant\n-- limit: 3/h by tenant\n" + READ,
    "by_ip.sql": "-- GET /t/by-ip\n-- limit: 3/h by ip\n" + READ,
    "cached.sql": "-- GET /t/cached\n-- limit: 4/h\n-- cache: 1h\n" + READ,
    "fast.sql": "-- GET /t/fast\n-- limit: 10/s burst 2\n" + READ,
    "ping.sql": "-- POST /t/pings\n-- limit: 2/h\nINSERT INTO pings (id) VALUES (:idempotency_key);\n",
}


def statuses(weir, target, count, **how):
    return [weir.get(target, **how).status for _ in range(count)]


def remaining(reply, policy):
    found = re.search(rf'"{policy}";[^,]*r=(\d+)', reply.header("RateLimit"))
    return int(found.group(1))


def test_exactly_the_quota_is_admitted(weir):
    assert statuses(weir, "/t/five", 8, client="192.0.2.10") == [200] * 5 + [429] * 3
    assert statuses(weir, "/t/five", 1, client="192.0.2.11") == [200], "another client has its own"


def test_the_burst_is_the_size_of_the_bucket(weir):
    assert statuses(weir, "/t/burst", 10, client="192.0.2.10") == [200] * 8 + [429] * 2


def test_a_sliding_window_admits_its_quota(weir):
    assert statuses(weir, "/t/window", 7, client="192.0.2.10") == [200] * 5 + [429] * 2


def test_all_workers_count_together(weir):
    replies = house.all_at_once(16, lambda i: statuses(weir, "/t/fifty", 12, client="192.0.2.20"))
    flat = [status for some in replies for status in some]
    assert flat.count(200) == 50 and flat.count(429) == 16 * 12 - 50


def test_tokens_come_back_with_time(weir):
    client = "192.0.2.30"
    while weir.get("/t/fast", client=client).status == 200:
        pass
    processes.wait_until(lambda: weir.get("/t/fast", client=client).status == 200, "a token")


def test_a_refusal_says_all_that_a_client_needs(weir):
    client = "192.0.2.40"
    statuses(weir, "/t/five", 5, client=client)
    reply = weir.get("/t/five", client=client)
    assert reply.status == 429
    assert reply.header("Content-Type").startswith("application/problem+json")
    assert reply.header("Cache-Control") == "no-store"
    body = reply.json()
    wait = int(reply.header("Retry-After"))
    assert body["error"] == "Rate limit exceeded" and body["retryAfter"] == wait and body["status"] == 429
    assert 1 <= wait <= 720, "one token of 5/h comes within 12 minutes"
    assert re.search(r'"default";.*q=5\b.*w=3600\b', reply.header("RateLimit-Policy"))
    assert remaining(reply, "default") == 0
    assert reply.header("X-RateLimit-Limit") == "5"
    assert reply.header("X-RateLimit-Remaining") == "0"
    assert int(reply.header("X-RateLimit-Reset")) >= 1


def test_an_admitted_request_says_what_is_left(weir):
    left = []
    for _ in range(5):
        reply = weir.get("/t/five", client="192.0.2.41")
        assert reply.header("X-RateLimit-Limit") == "5"
        assert int(reply.header("X-RateLimit-Remaining")) == remaining(reply, "default")
        left.append(remaining(reply, "default"))
    assert left == [4, 3, 2, 1, 0]


def test_limits_are_taken_together_or_not_at_all(weir):
    client = "192.0.2.50"
    replies = [weir.get("/t/two", client=client) for _ in range(9)]
    assert [r.status for r in replies] == [200] * 3 + [429] * 6
    assert remaining(replies[2], "large") == 7
    assert remaining(replies[8], "large") == 7, "refused requests cost the other limit nothing"
    assert '"small"' in replies[8].header("RateLimit-Policy") and '"large"' in replies[8].header("RateLimit-Policy")


def test_an_observed_limit_refuses_nobody(weir):
    assert statuses(weir, "/t/observed", 6, client="192.0.2.60") == [200] * 6


def test_a_copy_from_the_cache_and_a_304_count_as_well(weir):
    client = "192.0.2.70"
    first = weir.get("/t/cached", client=client)
    again = weir.get("/t/cached", client=client)
    not_modified = weir.get("/t/cached", {"If-None-Match": first.header("ETag")}, client=client)
    assert [r.status for r in (first, again, not_modified)] == [200, 200, 304]
    assert [remaining(r, "default") for r in (first, again, not_modified)] == [3, 2, 1], "never from the stored copy"
    weir.get("/t/cached", client=client)
    assert weir.get("/t/cached", client=client).status == 429
    assert weir.get("/t/cached", {"If-None-Match": first.header("ETag")}, client=client).status == 429


def test_a_write_over_its_limit_is_not_accepted(weir):
    replies = [weir.post("/t/pings", {}, f"ping-{i}", client="192.0.2.80") for i in range(4)]
    assert [r.status for r in replies] == [202, 202, 429, 429]
    weir.wait_operation(replies[1].header("Location"))
    assert weir.rows("SELECT id FROM pings ORDER BY id") == [("ping-0",), ("ping-1",)]


# ---- Who is the client -------------------------------------------------------


def test_a_mapped_address_is_the_ipv4_one(weir):
    assert statuses(weir, "/t/five", 5, client="192.0.2.90") == [200] * 5
    assert weir.get("/t/five", client="::ffff:192.0.2.90").status == 429


def test_ipv6_counts_by_its_64(weir):
    assert statuses(weir, "/t/five", 5, client="2001:db8:1:2::1") == [200] * 5
    assert weir.get("/t/five", client="2001:db8:1:2:ffff::9").status == 429
    assert weir.get("/t/five", client="2001:db8:1:3::1").status == 200


def test_forwarded_addresses_are_read_from_the_right_past_trusted_proxies(weir):
    assert statuses(weir, "/t/five", 5, client="198.51.100.1, 192.0.2.91") == [200] * 5
    assert weir.get("/t/five", client="198.51.100.2, 192.0.2.91").status == 429, "the left end is the client's own word"
    assert weir.get("/t/five", client="192.0.2.91, 127.0.0.5").status == 429, "a trusted proxy is skipped"


def test_several_forwarded_lines_are_one(weir):
    client = {"X-Forwarded-For": ["198.51.100.1", "192.0.2.92"]}
    assert [weir.get("/t/five", client).status for _ in range(6)] == [200] * 5 + [429]
    assert weir.get("/t/five", client="192.0.2.92").status == 429


def test_a_forwarded_address_of_an_untrusted_peer_is_not_believed(weir):
    def get(i):
        return weir.fcgi("GET", "/t/five", {"X-Forwarded-For": f"10.9.9.{i}"}, REMOTE_ADDR="203.0.113.9").status

    assert [get(i) for i in range(6)] == [200] * 5 + [429]


def test_addresses_that_are_none_are_one_client(weir):
    def get(address):
        return weir.fcgi("GET", "/t/five", REMOTE_ADDR=address).status

    assert [get(a) for a in ("", "unix:", "nonsense", "1.2.3", "::g", "x")] == [200] * 5 + [429]


def test_a_tenant_is_one_client_wherever_it_comes_from(weir):
    def get(tenant, address):
        return weir.fcgi("GET", "/t/five", tenant=tenant, REMOTE_ADDR=address).status

    assert [get("acme", f"203.0.113.{i}") for i in range(6)] == [200] * 5 + [429]
    assert get("zeta", "203.0.113.1") == 200


def test_by_tenant_and_by_ip_count_what_they_say(weir):
    def get(target, tenant, address):
        return weir.fcgi("GET", target, tenant=tenant, REMOTE_ADDR=address).status

    assert [get("/t/by-tenant", "acme", f"203.0.113.{i}") for i in range(4)] == [200] * 3 + [429]
    assert [get("/t/by-ip", f"tenant{i}", "203.0.113.77") for i in range(4)] == [200] * 3 + [429]
    assert get("/t/by-ip", "tenant0", "203.0.113.78") == 200


# ---- Settings and faults -----------------------------------------------------


@pytest.mark.parametrize("algorithm", ["token-bucket", "sliding-window"])
def test_the_default_limit_is_for_every_endpoint_also_health(make_weir, algorithm):
    weir = make_weir(
        {"plain.sql": "-- GET /t/plain\n" + READ},
        {"RATE_LIMIT_POINTS": 3, "RATE_LIMIT_DURATION": "1h", "RATE_LIMIT_ALGORITHM": algorithm},
    )
    for target in ("/t/plain", "/api/v1/health"):
        assert statuses(weir, target, 5, client="192.0.2.1") == [200] * 3 + [429] * 2
    assert weir.admin("/live").status == 200, "what the supervisor answers is never limited"


def test_counts_outlive_the_workers_that_made_them(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    assert statuses(weir, "/t/fifty", 30, client="192.0.2.1") == [200] * 30
    for pid in weir.workers():
        os.kill(pid, signal.SIGKILL)
    assert statuses(weir, "/t/fifty", 25, client="192.0.2.1") == [200] * 20 + [429] * 5


def test_many_passing_addresses_give_a_heavy_client_nothing(make_weir):
    weir = make_weir(HANDLERS, schema=SCHEMA)
    heavy = [weir.fcgi("GET", "/t/fifty", REMOTE_ADDR="203.0.113.1").status for _ in range(50)]
    assert heavy == [200] * 50

    def crowd(part):
        with weir.connect() as connection:
            for n in range(part * 10000, part * 10000 + 10000):
                address = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
                answer = connection.request("GET", "/t/fifty", address=address)
                assert answer.status in (200, 429)  # 429 where the overflow bucket is shared

    house.all_at_once(4, crowd)
    assert {weir.fcgi("GET", "/t/fifty", REMOTE_ADDR="203.0.113.1").status for _ in range(20)} == {429}
