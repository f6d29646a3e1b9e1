"""Goal: a GET endpoint answers as its file says: types, parameters, conditions, fields, tenants."""

import gzip
import json
import os
import re

import pytest

import processes

SCHEMA = """
CREATE TABLE kinds (id INTEGER PRIMARY KEY, big INTEGER, flag BOOLEAN, doc JSON, bytes BLOB, name TEXT, blank TEXT,
                    rate REAL);
INSERT INTO kinds VALUES (1, 9223372036854775807, 1, '{"a":[1,{"b":null}],"c":"é"}', x'00ff10', 'eins', NULL, 0.5);
INSERT INTO kinds VALUES (2, -9223372036854775808, 0, '[]', x'', 'a "quoted" \\ line' || char(10), NULL, -1e300);
CREATE TABLE notes (tenant TEXT, id TEXT, text TEXT, PRIMARY KEY (tenant, id));
INSERT INTO notes VALUES ('acme', '1', 'of acme'), ('zeta', '1', 'of zeta'), ('', '1', 'of nobody');
"""

HANDLERS = {
    "kinds.sql": """-- GET /t/kinds
-- cache: 1h, stale 10m
SELECT id, big, flag, doc, bytes, name, blank, rate FROM kinds ORDER BY id;
""",
    "kind.sql": """-- GET /t/kinds/:id
-- param id: integer, min 1
-- returns: one
-- cache: 1h
SELECT id, big, flag, name FROM kinds WHERE id = :id;
""",
    "echo.sql": """-- GET /t/echo/:word
-- param word: text
-- param i: integer, min -5, max 10, default 7
-- param s: text, min 2, max 4, optional
-- param l: text, length 3, optional
-- param c: text, one of red|green|blue, optional
-- param n: number, min 0, max 1.5, optional
-- param b: boolean, optional
-- param d: date, optional
-- param at: timestamp, optional
-- param u: uuid, optional
-- param j: json, optional
-- returns: one
-- column b: boolean
-- column i: integer
SELECT :word AS word, :i AS i, :s AS s, :l AS l, :c AS c, :n AS n, :b AS b, :d AS d, :at AS at, :u AS u, :j AS j;
""",
    "note.sql": """-- GET /t/notes/:id
-- param id: text
-- returns: one
-- cache: 1h
SELECT id, text FROM notes WHERE tenant = :tenant AND id = :id;
""",
    "mine.sql": """-- GET /t/mine
-- auth: required
SELECT text FROM notes WHERE tenant = :tenant;
""",
    "two_rows.sql": """-- GET /t/two-rows
-- max-rows: 1
SELECT id FROM kinds;
""",
    "large.sql": """-- GET /t/large
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 9000)
SELECT n, hex(zeroblob(300)) AS filler FROM c;
""",
}


# ---- Bodies ------------------------------------------------------------------


def test_json_types_come_from_the_declared_column_types(weir):
    text = weir.get("/t/kinds").body.decode()
    rows = json.loads(text)
    assert rows[0]["big"] == 9223372036854775807 and rows[1]["big"] == -9223372036854775808
    assert '"big":9223372036854775807' in text, "integers are exact to 64 bits"
    assert rows[0]["flag"] is True and rows[1]["flag"] is False
    assert rows[0]["doc"] == {"a": [1, {"b": None}], "c": "é"} and rows[1]["doc"] == []
    assert rows[0]["bytes"] == "AP8Q" and rows[1]["bytes"] == ""
    assert rows[1]["name"] == 'a "quoted" \\ line\n'
    assert rows[0]["blank"] is None
    assert rows[0]["rate"] == 0.5 and rows[1]["rate"] == -1e300


def test_returns_one_is_an_object_and_404_without_a_row(weir):
    assert weir.get("/t/kinds/1").json()["name"] == "eins"
    assert weir.get("/t/kinds/3").status == 404


def test_returns_many_without_rows_is_an_empty_array(weir):
    assert weir.fcgi("GET", "/t/mine", tenant="stranger").json() == []


def test_an_answer_with_more_rows_than_allowed_is_a_500_that_leaks_nothing(weir):
    reply = weir.get("/t/two-rows")
    assert reply.status == 500
    assert b"kinds" not in reply.body and b"SELECT" not in reply.body
    assert "two_rows.sql" in weir.log(), "the log names the file"


def test_a_large_answer_comes_whole(weir):
    rows = weir.get("/t/large").json()
    assert len(rows) == 9000 and rows[8999]["n"] == 9000
    assert {len(row["filler"]) for row in rows} == {600}


# ---- Parameters --------------------------------------------------------------


def test_parameters_are_bound_with_their_types_and_defaults(weir):
    echo = weir.get("/t/echo/w?i=-5&s=%C3%A9%F0%9F%98%80&l=abc&c=red&n=1.5&b=true").json()
    assert echo["word"] == "w" and echo["i"] == -5 and echo["s"] == "é😀" and echo["l"] == "abc"
    assert echo["c"] == "red" and echo["n"] == 1.5 and echo["b"] is True
    echo = weir.get("/t/echo/w").json()
    assert echo["i"] == 7 and echo["s"] is None and echo["b"] is None


def test_a_path_segment_is_decoded_once(weir):
    assert weir.get("/t/echo/a%20b%2525").json()["word"] == "a b%25"
    assert weir.get("/t/echo/%E2%82%AC").json()["word"] == "€"
    assert weir.get("/t/echo/a+b").json()["word"] == "a+b", "a plus in a path is a plus"


def test_a_plus_in_the_query_is_a_space(weir):
    assert weir.get("/t/echo/w?s=a+b").json()["s"] == "a b"


def test_a_quote_is_data_and_never_sql(weir):
    assert weir.get("/t/echo/'%3B--%20").json()["word"] == "';-- "


@pytest.mark.parametrize(
    "query, name",
    [
        ("i=11", "i"),
        ("i=-6", "i"),
        ("i=1.0", "i"),
        ("i=", "i"),
        ("i=0x1", "i"),
        ("i=+1", "i"),
        ("i=9223372036854775808", "i"),
        ("i=" + "9" * 400, "i"),
        ("s=a", "s"),
        ("s=abcde", "s"),
        ("l=ab", "l"),
        ("c=pink", "c"),
        ("n=1.6", "n"),
        ("n=NaN", "n"),
        ("n=Infinity", "n"),
        ("n=1e999", "n"),
        ("b=maybe", "b"),
        ("d=2023-02-29", "d"),
        ("d=20230101", "d"),
        ("at=2023-01-01", "at"),
        ("at=2023-01-01T25:00:00Z", "at"),
        ("u=not-a-uuid", "u"),
        ("j=%7B", "j"),
    ],
)
def test_a_value_that_does_not_fit_is_a_400_that_names_the_parameter(weir, query, name):
    reply = weir.get("/t/echo/w?" + query)
    assert reply.status == 400
    problem = reply.json()
    assert problem["status"] == 400 and problem["title"] == "Bad Request"
    assert re.search(rf"\b{name}\b", problem["detail"]), problem


@pytest.mark.parametrize(
    "query", ["d=2024-02-29", "at=2023-01-01T00:00:00Z", "u=0190b5d2-1111-8abc-8def-0123456789ab", "j=%7B%22a%22%3A1%7D"]
)
def test_a_value_that_fits_is_taken(weir, query):
    assert weir.get("/t/echo/w?" + query).status == 200


def test_a_repeated_declared_parameter_is_refused(weir):
    reply = weir.get("/t/echo/w?i=1&i=1")
    assert reply.status == 400 and "i" in reply.json()["detail"]


def test_an_undeclared_query_parameter_changes_nothing(weir):
    plain = weir.get("/t/kinds/1")
    extra = weir.get("/t/kinds/1?utm_source=x&utm_source=y&_=%zz")
    assert extra.status == 200 and extra.body == plain.body
    assert "hit" in extra.header("Cache-Status"), "it never reaches the cache key"


# ---- Methods -----------------------------------------------------------------


def test_head_has_the_headers_of_get_and_no_body(weir):
    get, head = weir.get("/t/kinds"), weir.request("HEAD", "/t/kinds")
    assert head.status == 200 and head.body == b""
    for name in ("ETag", "Content-Length", "Content-Type", "Cache-Control"):
        assert head.header(name) == get.header(name), name


def test_options_lists_the_methods(weir):
    reply = weir.request("OPTIONS", "/t/kinds")
    assert reply.status in (200, 204) and reply.body == b""
    assert {"GET", "HEAD", "OPTIONS"} <= {m.strip() for m in reply.header("Allow").split(",")}
    assert weir.request("OPTIONS", "/t/nowhere").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
def test_another_method_is_405_with_allow(weir, method):
    reply = weir.request(method, "/t/kinds", body=b"")
    assert reply.status == 405
    assert {"GET", "HEAD", "OPTIONS"} <= {m.strip() for m in reply.header("Allow").split(",")}


def test_a_problem_has_all_its_members_and_is_not_stored(weir):
    reply = weir.get("/t/nowhere?q=1")
    assert reply.status == 404
    assert reply.header("Content-Type").startswith("application/problem+json")
    assert reply.header("Cache-Control") == "no-store"
    problem = reply.json()
    assert {"type", "title", "status", "detail", "instance"} <= set(problem)
    assert problem["status"] == 404 and problem["instance"] == "/t/nowhere"
    assert reply.header("X-Request-Id") in problem.values()


# ---- Conditions, headers -----------------------------------------------------


def test_a_client_that_has_the_answer_gets_304(weir):
    whole = weir.get("/t/kinds/1")
    tag = whole.header("ETag")
    assert re.fullmatch(r'"[\x21\x23-\x7e]+"', tag), "strong"
    for sent in (tag, "W/" + tag, f'"other", {tag}', f'"other",W/{tag}', "*"):
        reply = weir.get("/t/kinds/1", {"If-None-Match": sent})
        assert reply.status == 304, sent
        assert reply.body == b""
        assert reply.header("ETag") == tag
        assert reply.header("Cache-Control") == whole.header("Cache-Control")
    for sent in ('"other"', "", tag.strip('"'), tag[:-1]):
        assert weir.get("/t/kinds/1", {"If-None-Match": sent}).status == 200, sent
    assert weir.request("HEAD", "/t/kinds/1", {"If-None-Match": tag}).status == 304


def test_two_if_none_match_lines_are_one_list(weir):
    tag = weir.get("/t/kinds/1").header("ETag")
    lines = [("If-None-Match", '"other"'), ("If-None-Match", tag)]  # nginx itself lets only one through
    assert weir.fcgi("GET", "/t/kinds/1", lines).status == 304


def test_a_compressed_answer_is_the_same_and_its_weak_tag_is_good(weir):
    large = weir.get("/t/large", {"Accept-Encoding": "gzip"})
    assert large.header("Content-Encoding") == "gzip"
    assert "Accept-Encoding" in large.header("Vary")
    assert len(json.loads(gzip.decompress(large.body))) == 9000
    tag = large.header("ETag")
    assert tag.startswith("W/")
    assert weir.get("/t/large", {"Accept-Encoding": "gzip", "If-None-Match": tag}).status == 304


def test_brotli_is_used_where_nginx_has_it(weir):
    if os.path.exists("/usr/lib/nginx/modules/ngx_http_brotli_filter_module.so"):
        assert weir.get("/t/large", {"Accept-Encoding": "br"}).header("Content-Encoding") == "br"
    assert weir.get("/t/large", {"Accept-Encoding": "identity"}).header("Content-Encoding") is None


def test_cache_control_says_what_the_file_says(weir):
    value = weir.get("/t/kinds").header("Cache-Control")
    assert {"public", "max-age=3600", "stale-while-revalidate=600"} <= {v.strip() for v in value.split(",")}
    assert "s-maxage" not in value


def test_an_endpoint_without_cache_is_not_kept_by_anybody(weir):
    value = weir.get("/t/echo/w").header("Cache-Control")
    assert value and "max-age=3600" not in value and ("no-store" in value or "no-cache" in value)


def test_each_answer_has_a_request_id_and_a_timing(weir):
    one, two = weir.get("/t/kinds/1"), weir.get("/t/kinds/1")
    assert one.header("X-Request-Id") and one.header("X-Request-Id") != two.header("X-Request-Id")
    assert re.search(r"[\w-]+;dur=\d", weir.get("/t/echo/w").header("Server-Timing"))


def test_the_log_has_one_line_for_a_request_with_its_ids(weir):
    trace = "0af7651916cd43dd8448eb211c80319c"
    reply = weir.get("/t/kinds/2", {"traceparent": f"00-{trace}-b7ad6b7169203331-01"})

    def found():
        return [line for line in weir.log().splitlines() if reply.header("X-Request-Id") in line]

    lines = processes.wait_until(found, "the line")
    assert len(lines) == 1
    assert trace in lines[0]
    assert '"status":200' in lines[0].replace(" ", "")


# ---- Fields ------------------------------------------------------------------


def test_fields_keeps_the_columns_in_the_order_asked_for(weir):
    assert weir.get("/t/kinds?fields=name,id").body.startswith(b'[{"name":"eins","id":1},')
    assert weir.get("/t/kinds/1?fields=flag").body == b'{"flag":true}'


def test_a_projection_has_the_tag_of_the_one_stored_copy(weir):
    whole, cut = weir.get("/t/kinds"), weir.get("/t/kinds?fields=id")
    assert cut.header("ETag") == whole.header("ETag")
    assert "hit" in cut.header("Cache-Status"), "cut from the copy that is there"
    assert weir.get("/t/kinds?fields=id", {"If-None-Match": cut.header("ETag")}).status == 304


@pytest.mark.parametrize("fields", ["nope", "", "id,", "id,id", "id,nope", "id;name", "ID"])
def test_an_unknown_field_is_400_with_the_list_of_fields(weir, fields):
    reply = weir.get("/t/kinds?fields=" + fields)
    assert reply.status == 400
    for name in ("id", "big", "flag", "doc", "bytes", "name", "blank", "rate"):
        assert f'"{name}"' in reply.body.decode()


# ---- Tenants -----------------------------------------------------------------


def test_each_tenant_reads_its_own_rows_also_from_the_cache(weir):
    for _ in range(2):
        assert weir.fcgi("GET", "/t/notes/1", tenant="acme").json()["text"] == "of acme"
        assert weir.fcgi("GET", "/t/notes/1", tenant="zeta").json()["text"] == "of zeta"
        assert weir.fcgi("GET", "/t/notes/1").json()["text"] == "of nobody"
        assert weir.fcgi("GET", "/t/notes/1", tenant="").json()["text"] == "of nobody"


def test_what_varies_by_tenant_is_private(weir):
    reply = weir.fcgi("GET", "/t/notes/1", tenant="acme")
    assert "private" in reply.header("Cache-Control") and "public" not in reply.header("Cache-Control")
    assert {"Authorization", "X-API-Key"} <= {v.strip() for v in reply.header("Vary").split(",")}


def test_no_header_of_a_client_makes_it_a_tenant(weir):
    for headers in ({"Tenant-Id": "acme"}, {"TENANT_ID": "acme"}, {"X-Tenant-Id": "acme"}):
        assert weir.get("/t/notes/1", headers).json()["text"] == "of nobody"
        assert weir.get("/t/mine", headers).status == 401


def test_auth_required_without_a_tenant_is_401(weir):
    reply = weir.get("/t/mine")
    assert reply.status == 401
    assert reply.header("WWW-Authenticate")
    assert weir.fcgi("GET", "/t/mine", tenant="acme").json() == [{"text": "of acme"}]


# ---- Base path ---------------------------------------------------------------


def test_the_base_path_is_taken_off_and_put_back(make_weir):
    weir = make_weir(HANDLERS, {"WEIR_BASE_PATH": "/app"}, SCHEMA, start=False)
    weir.health = "/app/api/v1/health"
    weir.start()
    assert weir.get("/app/t/kinds/1").status == 200
    assert weir.get("/t/kinds/1").status == 404
    assert weir.get("/application/t/kinds/1").status == 404
    assert weir.get("/app/t/nowhere").json()["instance"] == "/app/t/nowhere"


@pytest.mark.parametrize("path", ["/app/t/kinds/1", "/t/kinds/1"])
def test_a_path_is_purged_as_clients_write_it_and_as_its_file_does(make_weir, path):
    weir = make_weir(HANDLERS, {"WEIR_BASE_PATH": "/app"}, SCHEMA, start=False)
    weir.health = "/app/api/v1/health"
    weir.start()
    status = lambda: weir.get("/app/t/kinds/1").header("Cache-Status")  # noqa: E731
    status()
    assert "hit" in status()
    assert weir.command("purge", "--path", "/app/t/kinds/2").returncode == 0
    assert "hit" in status(), "another path"
    assert weir.command("purge", "--path", path).returncode == 0
    assert "hit" not in status()


def test_check_accepts_these_files(weir):
    check = weir.command("check")
    assert check.returncode == 0, check.stdout + check.stderr
