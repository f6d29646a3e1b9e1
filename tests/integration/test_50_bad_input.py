"""Goal: whatever comes in, the answer is the right one, nothing crashes, and the log stays small."""

import http.client
import json
import os
import socket
import struct

import pytest

import fcgi
import processes
import weir as house

SCHEMA = "CREATE TABLE jots (tenant TEXT, id TEXT, text TEXT, n INTEGER, extra TEXT);"

HANDLERS = {
    "echo.sql": """-- GET /t/echo/:word
-- param word: text, max 1000
-- param i: integer, optional
-- param s: text, max 5, optional
-- returns: one
SELECT :word AS word, :i AS i, :s AS s;
""",
    "jot.sql": """-- POST /t/jots
-- body text: text, max 64
-- body n: integer, optional
-- body extra: object, optional
-- body list: array, optional
-- body what: any, optional
-- max-body: 256k
INSERT INTO jots (tenant, id, text, n, extra)
VALUES (:tenant, :idempotency_key, :text, :n, coalesce(:extra, :list, :what));
""",
}


@pytest.fixture(autouse=True)
def nothing_dies(weir):
    """After each of these tests the same processes are alive."""
    before = weir.members()
    yield
    assert weir.members() == before
    assert weir.get("/api/v1/health").status == 200


def problem(reply, status):
    assert reply.status == status, reply
    assert reply.header("Content-Type").startswith("application/problem+json")
    body = reply.json()
    assert body["status"] == status
    for word in ("SELECT", "INSERT", "sqlite", ".sql", "app/", "/var"):
        assert word not in reply.body.decode(), "nothing internal leaks"
    return body


# ---- Paths -------------------------------------------------------------------

BAD_PATHS = [
    "/t/echo/a%2Fb",
    "/t/echo/a%2fb",
    "/t/echo/a%5Cb",
    "/t/echo/a%00b",
    "/t/echo/%",
    "/t/echo/%a",
    "/t/echo/%zz",
    "/t/echo/%C3",
    "/t/echo/%C3%28",
    "/t/echo/%ED%A0%80",
    "/t/echo/%F4%90%80%80",
    "/t/echo/%C0%AF",
    "/t/echo/%FF",
    "/t/echo/",
    "/t//echo/a",
    "//t/echo/a",
    "/t/./echo/a",
    "/t/../t/echo/a",
    "/t/echo/..",
    "/t/echo/.",
    "/t/echo/%2e%2e",
    "/t/echo/%2E",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_is_not_clean_is_400_and_never_repaired(weir, path):
    problem(weir.fcgi("GET", path), 400)
    problem(weir.get(path), 400)  # by nginx itself, or by weir


@pytest.mark.parametrize("target", ["*", "t/echo/a", "", "http://localhost/t/echo/a", "/" + "a/" * 3000, "/" * 5000])
def test_a_target_that_is_no_path_is_refused(weir, target):
    assert weir.fcgi("GET", target).status in (400, 404, 414)


@pytest.mark.parametrize("raw", [b"/t/echo/\xff", b"/t/echo/\xc3(", b"/t/echo/\xed\xa0\x80"])
def test_raw_bytes_in_the_path_are_400(weir, raw):
    problem(weir.fcgi("GET", raw.decode("latin-1")), 400)


# ---- Query parameters --------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "i=1&i=2",
        "i=9223372036854775808",
        "i=-9223372036854775809",
        "i=" + "1" * 5000,
        "i=1e3",
        "i=%31%",
        "s=%",
        "s=%zz",
        "s=%00",
        "s=a%00b",
        "s=%C3%28",
        "s=%ED%A0%80",
        "s=123456",
        "s=%F0%9F%98%8012345",
        "s=" + "x" * 7000,
        "s=1&%73=2",
    ],
)
def test_a_bad_query_parameter_is_400(weir, query):
    problem(weir.get("/t/echo/w?" + query), 400)
    problem(weir.fcgi("GET", "/t/echo/w?" + query), 400)


def test_lengths_of_text_are_code_points(weir):
    assert weir.get("/t/echo/w?s=" + "%F0%9F%98%80" * 5).status == 200
    problem(weir.get("/t/echo/w?s=" + "%F0%9F%98%80" * 6), 400)


def test_a_value_that_was_refused_cannot_break_the_answer(weir):
    body = problem(weir.get("/t/echo/w?i=%22%5C%0D%0A%3Cscript%3E"), 400)
    assert "i" in body["detail"]


# ---- Bodies ------------------------------------------------------------------

DEEP = b'{"text":"x","extra":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"
DEEP_LIST = b'{"text":"x","list":' + b"[" * 100000 + b"]" * 100000 + b"}"

BAD_BODIES = {
    "empty": b"",
    "not json": b"text=x",
    "an array": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "two values": b'{"text":"x"} {}',
    "single quotes": b"{'text':'x'}",
    "no quotes": b"{text:1}",
    "trailing comma": b'{"text":"x",}',
    "comment": b'{"text":"x"/* */}',
    "cut": b'{"text":"x"',
    "cut string": b'{"text":"x',
    "byte order mark": b'\xef\xbb\xbf{"text":"x"}',
    "member missing": b'{"n":1}',
    "member null": b'{"text":null}',
    "member twice": b'{"text":"x","text":"y"}',
    "member twice, escaped": b'{"text":"x","t\\u0065xt":"y"}',
    "undeclared member": b'{"text":"x","colour":"red"}',
    "undeclared member, empty name": b'{"text":"x","":1}',
    "wrong type": b'{"text":1}',
    "too long": b'{"text":"' + b"x" * 65 + b'"}',
    "integer as text": b'{"text":"x","n":"1"}',
    "integer with fraction": b'{"text":"x","n":1.5}',
    "integer beyond 64 bits": b'{"text":"x","n":9223372036854775808}',
    "integer far beyond": b'{"text":"x","n":' + b"9" * 1000 + b"}",
    "leading zero": b'{"text":"x","n":01}',
    "plus": b'{"text":"x","n":+1}',
    "hex": b'{"text":"x","n":0x1}',
    "NaN": b'{"text":"x","what":NaN}',
    "Infinity": b'{"text":"x","what":-Infinity}',
    "object wanted": b'{"text":"x","extra":[]}',
    "array wanted": b'{"text":"x","list":{}}',
    "duplicate inside an object": b'{"text":"x","extra":{"a":1,"a":2}}',
    "lone high surrogate": b'{"text":"\\ud800"}',
    "lone low surrogate": b'{"text":"\\udc00"}',
    "surrogates in the wrong order": b'{"text":"\\udc00\\ud800"}',
    "lone surrogate inside": b'{"text":"x","extra":{"a":"\\ud800x"}}',
    "bad escape": b'{"text":"\\x41"}',
    "short escape": b'{"text":"\\u12"}',
    "NUL escape": b'{"text":"a\\u0000b"}',
    "NUL byte": b'{"text":"a\x00b"}',
    "control byte": b'{"text":"a\nb"}',
    "invalid UTF-8": b'{"text":"\xff"}',
    "overlong UTF-8": b'{"text":"\xc0\xaf"}',
    "surrogate in UTF-8": b'{"text":"\xed\xa0\x80"}',
    "invalid UTF-8 inside": b'{"text":"x","extra":{"\xff":1}}',
    "too deep": DEEP,
    "a list too deep": DEEP_LIST,
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_bad_body_is_400(weir, body):
    problem(weir.post("/t/jots", key="bad-body", body=body), 400)


def test_a_fault_of_a_member_is_named(weir):
    assert "colour" in problem(weir.post("/t/jots", {"text": "x", "colour": 1}, "k"), 400)["detail"]
    assert "text" in problem(weir.post("/t/jots", {"n": 1}, "k"), 400)["detail"]
    assert "n" in problem(weir.post("/t/jots", {"text": "x", "n": "1"}, "k"), 400)["detail"]


def test_nothing_of_a_bad_body_was_written(weir):
    good = weir.post("/t/jots", {"text": "good"}, "bad-body")
    assert good.status == 202 and good.header("Idempotent-Replayed") is None, "the key is still free"
    weir.wait_operation(good.header("Location"))
    assert weir.rows("SELECT text FROM jots WHERE id = 'bad-body'") == [("good",)]


def test_good_edges_of_json_are_taken(weir):
    body = b' { "text" : "\\ud83d\\ude00 \\u00e9 \\"\\\\\\/" ,\r\n\t"n" : -9223372036854775808 , "what" : -0.5e-3 } '
    reply = weir.post("/t/jots", key="edges", body=body)
    assert reply.status == 202
    weir.wait_operation(reply.header("Location"))
    assert weir.rows("SELECT text, n FROM jots WHERE id = 'edges'") == [('😀 é "\\/', -(2**63))]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/xml", ""])
def test_another_content_type_is_415_and_says_what_is_taken(weir, kind):
    reply = weir.post("/t/jots", {"text": "x"}, "k", {"Content-Type": kind})
    problem(reply, 415)
    assert "application/json" in reply.header("Accept")


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0, */*", "application/xml, image/*"])
def test_who_cannot_take_json_gets_406(weir, accept):
    problem(weir.get("/t/echo/a", {"Accept": accept}), 406)
    problem(weir.post("/t/jots", {"text": "x"}, "k-406", {"Accept": accept}), 406)
    assert weir.rows("SELECT text FROM jots WHERE id = 'k-406'") == []


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html, */*;q=0.1", "application/json"])
def test_who_can_take_json_gets_it(weir, accept):
    assert weir.get("/t/echo/a", {"Accept": accept}).status == 200


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/json ;charset=UTF-8"])
def test_json_is_json_however_it_is_spelled(weir, kind):
    assert weir.post("/t/jots", {"text": "x"}, "k-" + kind[:3] + str(len(kind)), {"Content-Type": kind}).status == 202


def test_a_body_larger_than_allowed_is_413(weir):
    body = b'{"text":"' + b"x" * (256 * 1024) + b'"}'
    problem(weir.post("/t/jots", key="k", body=body), 413)
    problem(weir.fcgi("POST", "/t/jots", [("Content-Type", "application/json"), ("Idempotency-Key", "k")], body), 413)
    problem(weir.post("/t/jots", key="k", body=b"x" * (3 << 20)), 413)


def test_a_body_larger_than_nginx_takes_is_a_413_problem_too(weir):
    with socket.create_connection(("127.0.0.1", weir.port), 20) as s:
        s.sendall(b"POST /t/jots HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nContent-Type: application/json\r\n\r\n")
        answer = http.client.HTTPResponse(s)
        answer.begin()
        assert answer.status == 413 and answer.getheader("Content-Type").startswith("application/problem+json")


def raw_post(weir, content_length, body):
    """A POST whose CONTENT_LENGTH says something else than the body's."""
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", "raw")]
    params = fcgi.params_for("POST", "/t/jots", headers, body, CONTENT_LENGTH=content_length)
    with weir.connect() as connection:
        connection.send(fcgi.records(params, body))
        return connection.read_answer()


@pytest.mark.parametrize("length", ["1", "15", "0"])
def test_a_body_larger_than_promised_is_400(weir, length):
    assert raw_post(weir, length, b'{"text":"larger"}').status in (400, 411)


@pytest.mark.parametrize("length", ["18", "1000", "100000"])
def test_a_body_shorter_than_promised_is_400(weir, length):
    assert raw_post(weir, length, b'{"text":"shorter"}'[:17]).status == 400


@pytest.mark.parametrize("length", ["-1", "x", "1x", " ", "1,1", "0x10", "99999999999999999999999", "18446744073709551616"])
def test_a_length_that_is_no_number_is_400_or_413(weir, length):
    assert raw_post(weir, length, b'{"text":"x"}').status in (400, 411, 413)


def test_a_missing_length_with_a_body_is_refused_or_read(weir):
    """FastCGI says where the body ends; what a front server sends for a chunked body has no length."""
    assert raw_post(weir, "", b'{"text":"x"}').status in (202, 400, 411)
    assert raw_post(weir, None, b'{"text":"x"}').status in (202, 400, 411)


def test_a_chunked_body_through_nginx_is_taken(weir):
    connection = http.client.HTTPConnection("127.0.0.1", weir.port, timeout=20)
    headers = {"Content-Type": "application/json", "Idempotency-Key": "chunked"}
    connection.request("POST", "/t/jots", iter([b'{"text":', b'"chunked"}']), headers, encode_chunked=True)
    assert connection.getresponse().status == 202
    connection.close()


def test_a_get_with_a_body_is_answered_and_the_connection_stays_good(weir):
    with weir.connect() as connection:
        for size in (1, 40000, 200000):
            assert connection.request("GET", "/t/echo/a", body=b"x" * size).status in (200, 400, 413)
            assert connection.request("GET", "/t/echo/a").status == 200


# ---- Headers -----------------------------------------------------------------


def test_65_kb_of_headers_are_400(weir):
    headers = {f"X-Filler-{i}": "x" * 1000 for i in range(65)}
    problem_of_nginx = weir.get("/t/echo/a", headers)
    assert problem_of_nginx.status == 400
    assert problem_of_nginx.header("Content-Type").startswith("application/problem+json")


def test_the_largest_headers_that_nginx_lets_in_are_answered(weir):
    many = {f"A{i}": "" for i in range(2000)}
    assert weir.get("/t/echo/a", many).status in (200, 400)
    long = {"X-Long": "x" * 8000, "X-Long-Too": "y" * 8000}
    assert weir.get("/t/echo/a", long).status == 200


def test_parameters_beyond_64_kib_are_refused_and_the_worker_goes_on(weir):
    headers = [(f"X-Filler-{i}", "x" * 1000) for i in range(70)]
    try:
        assert weir.fcgi("GET", "/t/echo/a", headers).status in (400, 431)
    except (fcgi.Closed, ConnectionError):
        pass  # closing the connection is an answer too


@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": '"' + "x" * 7000},
        {"If-None-Match": ",".join(['"x"'] * 2000)},
        {"X-Forwarded-For": ",".join(["1.2.3.4"] * 900)},
        {"X-Forwarded-For": "\x7f\x01"},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"traceparent": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] * 2},
        {"tracestate": "a=1," * 1500},
        {"Accept": "*/" * 2000},
        {"Proxy": "http://evil.example/"},
    ],
)
def test_strange_headers_are_no_reason_to_fail(weir, headers):
    assert weir.get("/t/echo/a", headers).status == 200


@pytest.mark.parametrize("name", ["X-Request-Id", "traceparent", "Idempotency-Key"])
def test_a_header_cannot_add_lines_to_the_answer_or_the_log(weir, name):
    params = fcgi.params_for("GET", "/t/echo/a", [(name, "x\r\nSet-Cookie: evil=1\r\n")], REQUEST_ID="a\r\nSet-Cookie: evil=1")
    with weir.connect() as connection:
        connection.send(fcgi.records(params))
        answer = connection.read_answer()
    assert answer.header("Set-Cookie") is None
    assert not any(line.startswith("Set-Cookie") for line in weir.log().splitlines())


# ---- FastCGI itself ----------------------------------------------------------

RESPONDER = struct.pack(">HB5x", 1, 0)
GARBAGE = {
    "random bytes": bytes(range(256)) * 8,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "zeros": bytes(4096),
    "version 2": fcgi.record(fcgi.BEGIN, RESPONDER, version=2),
    "no begin": fcgi.stream(fcgi.PARAMS, b"") + fcgi.stream(fcgi.STDIN, b""),
    "unknown role": fcgi.record(fcgi.BEGIN, struct.pack(">HB5x", 9, 0)) + fcgi.stream(fcgi.PARAMS, b"") + fcgi.stream(fcgi.STDIN, b""),
    "unknown management record": fcgi.record(99, b"x", request_id=0),
    "pair longer than the record": fcgi.record(fcgi.BEGIN, RESPONDER)
    + fcgi.record(fcgi.PARAMS, b"\xff\xff\xff\xff\xff\xff\xff\xffabc")
    + fcgi.record(fcgi.PARAMS)
    + fcgi.record(fcgi.STDIN),
    "pair of 2 GiB": fcgi.record(fcgi.BEGIN, RESPONDER)
    + fcgi.record(fcgi.PARAMS, b"\x80\x00\x00\x01\xff\xff\xff\xfe" + b"a" * 100)
    + fcgi.record(fcgi.PARAMS)
    + fcgi.record(fcgi.STDIN),
    "abort": fcgi.record(fcgi.BEGIN, RESPONDER) + fcgi.record(fcgi.ABORT),
    "empty params": fcgi.record(fcgi.BEGIN, RESPONDER) + fcgi.record(fcgi.PARAMS) + fcgi.record(fcgi.STDIN),
    "short begin": fcgi.record(fcgi.BEGIN, b"\0\1") + fcgi.stream(fcgi.PARAMS, b"") + fcgi.stream(fcgi.STDIN, b""),
    "two requests at once": fcgi.record(fcgi.BEGIN, RESPONDER, 1) + fcgi.record(fcgi.BEGIN, RESPONDER, 2),
    "half a header": b"\x01\x01\x00",
    "a header without content": fcgi.record(fcgi.BEGIN, RESPONDER)[:8],
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_on_the_socket_is_answered_or_closed(weir, data):
    with weir.connect() as connection:
        try:
            connection.send(data)
            connection.finish_sending()
        except ConnectionError:
            return  # it has been closed already
        assert connection.is_closed_by_peer()


def test_get_values_is_answered(weir):
    """A management record, which asks what the server can do."""
    with weir.connect() as connection:
        connection.send(fcgi.record(fcgi.GET_VALUES, fcgi.pair("FCGI_MPXS_CONNS", ""), request_id=0))
        kind, request_id, content = connection.read_record()
    assert (kind, request_id) == (fcgi.GET_VALUES_RESULT, 0)
    assert fcgi.pair("FCGI_MPXS_CONNS", "0") in content


def test_a_flood_of_garbage_is_no_flood_in_the_log(weir):
    before = len(weir.log())
    for _ in range(2000):
        with weir.connect() as connection:
            try:
                connection.send(b"\xff" * 64)
            except ConnectionError:
                pass
    processes.wait_until(lambda: weir.get("/t/echo/a").status == 200, "an answer")
    assert len(weir.log()) - before < 64 * 1024


def test_bad_requests_are_one_line_each_in_the_log(weir):
    before = len(weir.log().splitlines())
    for i in range(200):
        weir.fcgi("GET", "/t/echo/w?i=" + "x" * 3000)
    lines = weir.log().splitlines()[before:]
    assert len(lines) <= 200 + 5
    assert max(len(line) for line in lines) < 8192


def test_params_without_method_or_uri_are_400(weir):
    for params in ([], [("REQUEST_METHOD", "GET")], [("REQUEST_URI", "/t/echo/a")]):
        with weir.connect() as connection:
            connection.send(fcgi.records(params))
            assert connection.read_answer().status in (400, 405)


def test_the_whole_suite_left_json_lines_only(weir):
    for line in weir.log().splitlines():
        value = json.loads(line)
        assert {"ts", "level", "event", "pid"} <= set(value)
    core = [name for name in os.listdir(weir.state) if name.startswith("core")]
    assert core == []
    assert house.port_answers(weir.port)
