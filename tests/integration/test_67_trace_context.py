"""Goal: W3C Trace Context, every rule of it, through the real nginx: the cases of its official harness (level 2), re-expressed.

What comes out is what an event carries to who applies it; see tests/support/trace_service.py, which also says how to run the
harness itself.
"""

import re
import shutil
import string

import pytest

import conftest
import otlp
import trace_service

TRACE = "12345678901234567890123456789012"
PARENT = "1234567890123456"
GOOD = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
FORMAT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]")

CONTINUED = [
    [("traceparent", GOOD)],
    [("TraceParent", GOOD)],
    [("TrAcEpArEnT", GOOD)],
    [("TRACEPARENT", GOOD)],
    [("traceparent", f"cc-{TRACE}-{PARENT}-01")],
    [("traceparent", f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like")],
    [("traceparent", f"01-{TRACE}-{PARENT}-01")],
    [("traceparent", " " + GOOD)],
    [("traceparent", "\t" + GOOD)],
    [("traceparent", GOOD + " ")],
    [("traceparent", GOOD + "\t")],
    [("traceparent", "\t " + GOOD + " \t")],
    [("traceparent", f"00-{TRACE}-{PARENT}-ff")],
]

RESTARTED = [
    [],
    [("traceparent", f"00-{TRACE[:-1]}1-{PARENT}-01"), ("traceparent", GOOD)],
    [("traceparent", GOOD), ("traceparent", GOOD)],
    [("trace-parent", GOOD)],
    [("trace.parent", GOOD)],
    *(
        [("traceparent", value)]
        for value in (
            GOOD + ".",
            GOOD + "-what-the-future-will-be-like",
            f"cc-{TRACE}-{PARENT}-01.what-the-future-will-be-like",
            f"ff-{TRACE}-{PARENT}-01",
            f".0-{TRACE}-{PARENT}-01",
            f"0.-{TRACE}-{PARENT}-01",
            f"000-{TRACE}-{PARENT}-01",
            f"0000-{TRACE}-{PARENT}-01",
            f"0-{TRACE}-{PARENT}-01",
            f"00-{'0' * 32}-{PARENT}-01",
            f"00-.{TRACE[1:]}-{PARENT}-01",
            f"00-{TRACE[:-1]}.-{PARENT}-01",
            f"00-{TRACE}3-{PARENT}-01",
            f"00-{TRACE[:-1]}-{PARENT}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE}-.{PARENT[1:]}-01",
            f"00-{TRACE}-{PARENT[:-1]}.-01",
            f"00-{TRACE}-{PARENT}7-01",
            f"00-{TRACE}-{PARENT[:-1]}-01",
            f"00-{TRACE}-{PARENT}-.0",
            f"00-{TRACE}-{PARENT}-0.",
            f"00-{TRACE}-{PARENT}-001",
            f"00-{TRACE}-{PARENT}-1",
            f"00-{TRACE}-{PARENT}-0A",
            f"00-{TRACE.replace('1', 'A')}-{PARENT}-01",
            f"{GOOD}, {GOOD}",
        )
    ),
]

KEY = string.ascii_lowercase + string.digits + "_-*/"
VALUE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in ",=")
MEMBERS = [f"bar{i:02}={i:02}" for i in range(1, 34)]


def members_as_lines(count):
    return [("tracestate", ",".join(MEMBERS[at : min(at + 10, count)])) for at in range(0, count, 10)]


# (lines of tracestate, what is kept: name -> value; None: the whole list is dropped)
STATES = [
    ([("tracestate", "foo=1,bar=2")], {"foo": "1", "bar": "2"}),
    ([("TraceState", "foo=1")], {"foo": "1"}),
    ([("TrAcEsTaTe", "foo=1")], {"foo": "1"}),
    ([("TRACESTATE", "foo=1")], {"foo": "1"}),
    ([("trace-state", "foo=1")], None),
    ([("trace.state", "foo=1")], None),
    ([("tracestate", "")], None),
    ([("tracestate", "foo=1"), ("tracestate", "")], {"foo": "1"}),
    ([("tracestate", ""), ("tracestate", "foo=1")], {"foo": "1"}),
    (
        [("tracestate", "foo=1,bar=2"), ("tracestate", "rojo=1,congo=2"), ("tracestate", "baz=3")],
        {"foo": "1", "bar": "2", "rojo": "1", "congo": "2", "baz": "3"},
    ),
    ([("tracestate", f"{KEY}={VALUE}")], {KEY: VALUE}),
    ([("tracestate", f"{KEY}@a-z0-9_-*/={VALUE}")], {f"{KEY}@a-z0-9_-*/": VALUE}),
    ([("tracestate", "foo=1 \t , \t bar=2, \t baz=3")], {"foo": "1", "bar": "2", "baz": "3"}),
    ([("tracestate", "foo=1\t \t,\t \tbar=2,\t \tbaz=3")], {"foo": "1", "bar": "2", "baz": "3"}),
    ([("tracestate", " foo=1")], {"foo": "1"}),
    ([("tracestate", "\tfoo=1")], {"foo": "1"}),
    ([("tracestate", "foo=1 ")], {"foo": "1"}),
    ([("tracestate", "foo=1\t")], {"foo": "1"}),
    ([("tracestate", "\t foo=1 \t")], {"foo": "1"}),
    ([("tracestate", "foo =1")], None),
    ([("tracestate", "FOO=1")], None),
    ([("tracestate", "foo.bar=1")], None),
    ([("tracestate", "@foo=1,bar=2")], None),
    ([("tracestate", "foo=bar=baz")], None),
    ([("tracestate", "foo=,bar=3")], None),
    (members_as_lines(32), dict(m.split("=") for m in MEMBERS[:32])),
    (members_as_lines(33), None),
    ([("tracestate", "foo=1"), ("tracestate", "z" * 256 + "=1")], {"foo": "1", "z" * 256: "1"}),
    ([("tracestate", "foo=1"), ("tracestate", "z" * 257 + "=1")], None),
    ([("tracestate", "foo=1"), ("tracestate", "t" * 241 + "@" + "v" * 14 + "=1")], {"foo": "1", "t" * 241 + "@" + "v" * 14: "1"}),
    ([("tracestate", "foo=1"), ("tracestate", "a=" + "v" * 257)], None),
]

# Two members of one name: kept as they are, which level 2 allows.
DOUBLE = [
    [("tracestate", "foo=1,foo=1")],
    [("tracestate", "foo=1,foo=2")],
    [("tracestate", "foo=1"), ("tracestate", "foo=2")],
]


def case(lines):
    return tuple(lines)


@pytest.fixture(scope="module")
def service(request, weirs):
    folder = conftest.new_folder()
    receiver = otlp.Receiver(folder)
    request.addfinalizer(lambda: shutil.rmtree(folder, ignore_errors=True))
    request.addfinalizer(receiver.stop)
    receiver.start()
    weir = weirs(trace_service.HANDLERS, trace_service.settings(receiver), trace_service.SCHEMA)
    request.addfinalizer(lambda: conftest.end(weir, request))
    return trace_service.TraceService(weir.start(), receiver)


@pytest.fixture(scope="module")
def passed(service):
    """Every case once, all together: what was passed on, by the lines that went in."""
    states = [lines for lines, _ in STATES] + DOUBLE
    cases = [*CONTINUED, *RESTARTED, *([("traceparent", UNSAMPLED), *lines] for lines in states)]
    events = {case(lines): service.send(lines) for lines in cases}
    spans = service.wait(events.values(), timeout=60)
    return {lines: service.headers_of(spans[event]) for lines, event in events.items()}


@pytest.mark.parametrize("lines", CONTINUED, ids=repr)
def test_a_valid_parent_is_continued_under_a_span_of_our_own(passed, lines):
    out = passed[case(lines)]["traceparent"]
    assert FORMAT.fullmatch(out)
    assert out.split("-")[1] == TRACE
    assert out.split("-")[2] not in (PARENT, "0" * 16)


@pytest.mark.parametrize("lines", RESTARTED, ids=repr)
def test_anything_else_begins_a_new_trace(passed, lines):
    out = passed[case(lines)]["traceparent"]
    assert FORMAT.fullmatch(out)
    assert out.split("-")[1] not in (TRACE, TRACE[:-1] + "1", "0" * 32)
    assert int(out.split("-")[3], 16) & 2, "all of a new trace id is random"


@pytest.mark.parametrize("lines, kept", STATES, ids=lambda v: repr(v)[:60])
def test_tracestate_is_passed_on_whole_or_dropped_whole(passed, lines, kept):
    out = passed[case([("traceparent", UNSAMPLED), *lines])]
    assert out["traceparent"].split("-")[1] == TRACE, "whatever is wrong with it, the trace goes on"
    members = [m.strip(" \t").split("=", 1) for m in out.get("tracestate", "").split(",") if m.strip(" \t")]
    if kept and any(v.startswith(" ") for v in kept.values()):
        assert out["tracestate"] == "=".join(next(iter(kept.items())))  # a space may begin a value
    else:
        assert members == [list(pair) for pair in (kept or {}).items()], "in the order in which they came"


@pytest.mark.parametrize("lines", DOUBLE, ids=repr)
def test_a_name_that_comes_twice_is_passed_on_as_it_came(passed, lines):
    assert "foo=1" in passed[case([("traceparent", UNSAMPLED), *lines])]["tracestate"]


def test_without_a_parent_there_is_no_tracestate(service):
    for lines in ([("tracestate", "foo=1")], [("tracestate", "foo=1,bar=2")], [("traceparent", "00-x"), ("tracestate", "foo=1")]):
        assert "tracestate" not in service.passed_on(lines)


def test_flags_keep_their_randomness_and_nothing_unknown(service):
    for flags, random in (("00", 0), ("01", 0), ("02", 2), ("03", 2), ("fc", 0), ("ff", 2)):
        out = service.passed_on([("traceparent", f"00-{TRACE}-{PARENT}-{flags}")])["traceparent"].split("-")[3]
        assert int(out, 16) == random | 1, "sampled: this weir takes every trace"


def test_every_call_of_one_trace_has_a_parent_of_its_own(service):
    outs = [service.passed_on([("traceparent", GOOD)])["traceparent"].split("-") for _ in range(3)]
    assert {o[1] for o in outs} == {TRACE}
    assert len({o[2] for o in outs}) == 3
    outs = [service.passed_on([("traceparent", f"00-{'0' * 32}-{PARENT}-01")])["traceparent"].split("-") for _ in range(3)]
    assert len({o[1] for o in outs}) == len({o[2] for o in outs}) == 3


def test_the_official_harness_can_call_the_service(service, request):
    """One call of it, by hand: POSTs before it answers, with what weir has passed on."""
    import http.server
    import json
    import threading
    import urllib.request

    got = []

    class Harness(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.headers["traceparent"], json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), h) for h in (Harness, trace_service.handler_of(service))]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        request.addfinalizer(server.server_close)
        request.addfinalizer(server.shutdown)
    harness, test = (f"http://127.0.0.1:{s.server_address[1]}" for s in servers)
    calls = [{"url": f"{harness}/a", "arguments": [1]}, {"url": f"{harness}/b", "arguments": []}]
    asked = urllib.request.Request(f"{test}/test", json.dumps(calls).encode(), {"traceparent": GOOD})
    assert urllib.request.urlopen(asked, timeout=20).status == 200
    assert [(path, said) for path, _, said in got] == [("/a", [1]), ("/b", [])]
    assert len({parent for _, parent, _ in got}) == 2 and all(TRACE in parent for _, parent, _ in got)
