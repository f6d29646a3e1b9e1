"""Goal: the same endpoint file answers the same bytes on SQLite and on PostgreSQL."""

import re

import pytest

import weir as house

TABLES = """
CREATE TABLE kinds (id INTEGER PRIMARY KEY, big BIGINT, num NUMERIC, r DOUBLE PRECISION, flag BOOLEAN, doc JSON,
                    name TEXT, day DATE, at TIMESTAMP WITH TIME ZONE, data {bytes});
INSERT INTO kinds VALUES
  (1, 9223372036854775807, 12.5, 0.1, TRUE, '{{"a" : [1, {{"b":null}}], "c":"é"}}', 'a "quoted" \\ line' || {newline},
   '2026-11-24', '2026-11-24T04:09:44.120000Z', {some}),
  (2, -9223372036854775808, -3, -1e300, FALSE, '[]', '', '0001-01-01', '1999-12-31T23:59:59.000000Z', {none}),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE notes (tenant TEXT, id TEXT, words TEXT, PRIMARY KEY (tenant, id));
INSERT INTO notes VALUES ('acme', '1', 'of acme'), ('zeta', '1', 'of zeta'), ('', '1', 'of nobody');
"""

SQLITE = TABLES.format(bytes="BLOB", some="x'00ff10'", none="x''", newline="char(10)")
POSTGRESQL = TABLES.format(bytes="BYTEA", some="'\\x00ff10'", none="'\\x'", newline="chr(10)")

HANDLERS = {
    "kinds.sql": "-- GET /t/kinds\n-- cache: 1h\nSELECT * FROM kinds ORDER BY id;\n",
    "kind.sql": """-- GET /t/kinds/:id
-- param id: integer
-- returns: one
SELECT id, big, num, name, at FROM kinds WHERE id = :id;
""",
    "empty.sql": "-- GET /t/empty\nSELECT id, name FROM kinds WHERE id < 0;\n",
    "since.sql": """-- GET /t/since
-- param at: timestamp
-- param day: date, optional
SELECT id FROM kinds WHERE at >= :at AND (:day IS NULL OR day = :day) ORDER BY id;
""",
    "echo.sql": """-- GET /t/echo/:word
-- param word: text
-- param i: integer, default 7
-- param n: number, default 0.1
-- param b: boolean, default true
-- param d: date, default 2026-11-24
-- param at: timestamp, default 2026-11-24T04:09:44.5+01:00
-- param u: uuid, default 0B53EB46-0000-4000-8000-00000000000A
-- param j: json, default {"a" : 1}
-- param s: text, optional
-- returns: one
-- column b: boolean
-- column j: json
-- column at2: timestamp
SELECT :word AS word, :i AS i, :i + 1 AS next, :n AS n, :b AS b, :d AS d, :at AS at, :at AS at2, :u AS u, :j AS j, :s AS s;
""",
    "many.sql": """-- GET /t/many
-- max-rows: 300
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i, CAST(i AS double precision) * 0.25 AS q FROM n ORDER BY i;
""",
    "too_many.sql": """-- GET /t/too-many
-- max-rows: 299
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i FROM n ORDER BY i;
""",
    "too_large.sql": """-- GET /t/too-large
WITH RECURSIVE n (i, s) AS (SELECT 1, 'xxxxxxxxxxxxxxxx' UNION ALL SELECT i + 1, s FROM n WHERE i < 400) SELECT i, s FROM n;
""",
    "first.sql": "-- GET /t/first\n-- returns: one\nSELECT id FROM kinds ORDER BY id DESC;\n",
    "note.sql": """-- GET /t/notes/:id
-- param id: text
-- returns: one
-- cache: 1h
SELECT id, words FROM notes WHERE tenant = :tenant AND id = :id;
""",
    "dialect.sql": "-- GET /t/dialect\n-- param x: text\n-- returns: one\nSELECT upper(:x) || 'SQLITE' AS x;\n",
    "dialect.postgresql.sql": "-- GET /t/dialect\n-- param x: text\n-- returns: one\nSELECT upper(:x) || 'SQLITE'::text AS x;\n",
}

ATLAS = [
    "/api/v1/countries",
    "/api/v1/countries?fields=flag,code",
    "/api/v1/countries/PT",
    "/api/v1/countries/pt",
    "/api/v1/countries/ZZ",
    "/api/v1/countries/PT/subdivisions",
    "/api/v1/countries/ZZ/subdivisions",
    "/api/v1/languages?q=portu",
    "/api/v1/languages?q=%25&limit=3",
    "/api/v1/languages?q=a&limit=100",
    "/api/v1/languages?q=%C3%B6",
    "/api/v1/events/nobody",
    "/api/v1/stats",
]

KINDS = [
    "/t/kinds",
    "/t/kinds?fields=data,doc",
    "/t/kinds/1",
    "/t/kinds/3",
    "/t/kinds/9",
    "/t/kinds/-9223372036854775808",
    "/t/empty",
    "/t/since?at=2000-01-01T00:00:00Z",
    "/t/since?at=1999-12-31T23:59:59Z",
    "/t/since?at=1999-12-31T23:59:59Z&day=2026-11-24",
    "/t/since?at=2026-11-24T04:09:44.121Z",
    "/t/echo/x",
    "/t/echo/%27%3B--?i=-9223372036854775808&n=-1e300&b=false&s=%F0%9F%98%80&j=%5B1%2C%20null%5D",
    "/t/echo/%C3%A9?n=3&d=0001-01-01&at=9999-12-31T23:59:59.999999Z",
    "/t/many",
    "/t/first",
    "/t/notes/1",
    "/t/dialect?x=abc",
]


@pytest.fixture(scope="module")
def pair(weirs, postgres):
    """A weir on each, with the demo data and the tables above."""
    both = [
        weirs(HANDLERS, schema=SQLITE, atlas=True),
        weirs(HANDLERS, schema=POSTGRESQL, atlas=True, database=postgres.database(house.atlas_sql())),
    ]
    try:
        yield [weir.start() for weir in both]
    finally:
        for weir in both:
            weir.stop()


def told(reply):
    """The body, without what names this one request."""
    return re.sub(rb'"requestId":"[0-9a-f]+"', b"", reply.body)


def same(pair, ask):
    """Both answers, which are equal in all that a client may rely on."""
    a, b = [ask(weir) for weir in pair]
    assert (a.status, told(a)) == (b.status, told(b))
    for name in ("Content-Type", "ETag", "Cache-Control", "Vary"):
        assert a.header(name) == b.header(name)
    return a


@pytest.mark.parametrize("target", ATLAS + KINDS)
def test_a_read_answers_the_same_bytes(pair, target):
    first = same(pair, lambda weir: weir.get(target))
    assert first.status in (200, 404)
    if first.header("ETag"):
        same(pair, lambda weir: weir.get(target, {"If-None-Match": first.header("ETag")}))


@pytest.mark.parametrize("target", ["/t/kinds", "/t/echo/x", "/api/v1/countries"])
def test_the_second_answer_is_the_stored_copy_of_the_first(pair, target):
    assert same(pair, lambda weir: weir.get(target)).body == same(pair, lambda weir: weir.get(target)).body


@pytest.mark.parametrize("tenant", ["acme", "zeta", "", "nobody"])
def test_each_tenant_reads_its_own(pair, tenant):
    reply = same(pair, lambda weir: weir.fcgi("GET", "/t/notes/1", tenant=tenant))
    assert reply.status == (404 if tenant == "nobody" else 200)
    assert reply.status == 404 or (tenant or "nobody") in reply.body.decode()


@pytest.mark.parametrize("target", ["/t/too-many", "/t/kinds/x", "/t/echo/x?d=never", "/t/kinds?fields=nope"])
def test_what_is_refused_is_refused_alike(pair, target):
    assert same(pair, lambda weir: weir.get(target)).status in (400, 500)


def test_an_answer_that_is_too_large_is_a_500_on_postgresql_too(make_weir, postgres):
    weir = make_weir(HANDLERS, {"WEIR_MAX_RESPONSE": "4k"}, POSTGRESQL, database=postgres.database())
    for _ in range(3):
        assert weir.get("/t/too-large").status == 500
    assert weir.get("/t/first").status == 200


def test_an_event_is_read_back_with_the_bytes_that_were_sent(pair):
    payload = b'{"type":"t","payload":{"n" : [1, 2.50, null, "\\u00e9"], "n2":1e3}}'
    for weir in pair:
        reply = weir.post("/api/v1/events", body=payload, key="bytes-1")
        assert reply.status == 202
        weir.wait_operation(reply.header("Location"))
    a, b = [weir.get("/api/v1/events/bytes-1?fields=id,type,payload") for weir in pair]
    assert a.body == b.body and b'{"n" : [1, 2.50, null, "\\u00e9"], "n2":1e3}' in a.body
    a, b = [weir.get("/api/v1/stats?fields=type,events") for weir in pair]
    assert a.body == b.body
    assert all(weir.get("/api/v1/stats").json()[0]["first_at"].endswith("Z") for weir in pair)
