/* Goal: a good file becomes the endpoint it describes, and a bad one is told whole, with its lines. */
#include <stdlib.h>

#include "tests/unit/service/parse.h"

static void
refuses_statement(const char *sql, const char *want)
{
	char text[512];

	(void)snprintf(text, sizeof text, "-- GET /t\n%s\n", sql);
	refuses(text, want);
}

static void
a_read_is_taken_whole(void)
{
	struct parsed p = takes("-- GET /api/v1/countries/:code\n"
				"-- One country.\n"
				"--\n"
				"--     indented\n"
				"-- param code: text, length 2\n"
				"-- returns: one\n"
				"-- max-rows: 7\n"
				"-- timeout: 250ms\n"
				"-- cache: 1h, stale 10m, if-error 1d\n"
				"-- tags: countries, country-:code-x\n"
				"-- column flag: json\n"
				"-- auth: optional\n"
				"\n"
				"SELECT flag\n  FROM countries WHERE code = upper(:code);\n");

	is(p.e.name, "thing");
	CU_ASSERT_STRING_EQUAL(p.e.file, "dir/thing.sql");
	is(p.e.route, "/api/v1/countries/:code");
	CU_ASSERT_EQUAL(p.e.method, HTTP_GET);
	CU_ASSERT_EQUAL(p.e.segment_count, 4);
	is(p.e.segments[2].literal, "countries");
	CU_ASSERT_EQUAL(p.e.segments[2].param, -1);
	CU_ASSERT_EQUAL(p.e.segments[3].param, 0);
	is(p.e.description, "One country.\n\n    indented");
	is(p.e.sql, "SELECT flag\n  FROM countries WHERE code = upper(?1)");
	CU_ASSERT_EQUAL(p.e.sql_line, 14);
	CU_ASSERT_TRUE(p.e.returns_one);
	CU_ASSERT_EQUAL(p.e.max_rows, 7);
	CU_ASSERT_EQUAL(p.e.timeout_ms, 250);
	CU_ASSERT_TRUE(p.e.cache.on);
	CU_ASSERT_EQUAL(p.e.cache.fresh_ms, 3600000);
	CU_ASSERT_EQUAL(p.e.cache.stale_ms, 600000);
	CU_ASSERT_EQUAL(p.e.cache.if_error_ms, 86400000);
	CU_ASSERT_EQUAL(p.e.auth, AUTH_OPTIONAL);
	CU_ASSERT_TRUE(p.e.uses_tenant);
	CU_ASSERT_EQUAL(p.e.columns[0].type, VALUE_JSON);
	CU_ASSERT_EQUAL(p.e.tag_count, 2);
	CU_ASSERT_EQUAL(p.e.tags[1].count, 3);
	is(p.e.tags[1].parts[0].literal, "country-");
	CU_ASSERT_EQUAL(p.e.tags[1].parts[1].param, 0);
	is(p.e.tags[1].parts[2].literal, "-x");
	parsed_free(&p);
}

static void
what_a_file_does_not_say_has_its_default(void)
{
	struct parsed p = takes("-- GET /t\nSELECT 1 AS n");

	CU_ASSERT_FALSE(p.e.returns_one);
	CU_ASSERT_FALSE(p.e.cache.on);
	CU_ASSERT_FALSE(p.e.uses_tenant);
	CU_ASSERT_EQUAL(p.e.max_rows, 10000);
	CU_ASSERT_EQUAL(p.e.timeout_ms, 3000);
	CU_ASSERT_EQUAL(p.e.max_body_bytes, 1 << 20);
	CU_ASSERT_EQUAL(p.e.tag_count, 1);
	is(p.e.tags[0].parts[0].literal, "thing");
	CU_ASSERT_EQUAL(p.e.limit_count, 1);
	is(p.e.limits[0].name, "default");
	CU_ASSERT_EQUAL(p.e.limits[0].quota, 100);
	CU_ASSERT_EQUAL(p.e.limits[0].burst, 100);
	CU_ASSERT_EQUAL(p.e.limits[0].by, LIMIT_BY_CLIENT);
	parsed_free(&p);
}

static void
a_write_is_taken_whole(void)
{
	struct parsed p = takes("-- POST /events/:kind\n"
				"-- body payload: object, optional\n"
				"-- body n: integer, min -5, max 9223372036854775807\n"
				"-- param kind: text, one of a|b\n"
				"-- param dry: boolean, default false\n"
				"-- idempotency: optional\n"
				"-- invalidates: events, event-:kind\n"
				"-- max-body: 4k\n"
				"INSERT INTO events VALUES (:tenant, :event_id, :idempotency_key,\n"
				":kind, :payload, :n, :dry, :accepted_at, :now, :kind)");

	CU_ASSERT_EQUAL(p.e.param_count, 4);
	is(p.e.params[0].name, "kind"); /* of the path: first, whatever the order of the lines */
	CU_ASSERT_EQUAL(p.e.params[0].place, PARAM_PATH);
	CU_ASSERT_EQUAL(p.e.params[0].choice_count, 2);
	is(p.e.params[1].name, "payload");
	CU_ASSERT_EQUAL(p.e.params[1].place, PARAM_BODY);
	CU_ASSERT_TRUE(p.e.params[1].optional);
	CU_ASSERT_EQUAL(p.e.params[2].min_int, -5);
	CU_ASSERT_EQUAL(p.e.params[2].max_int, INT64_MAX);
	CU_ASSERT_EQUAL(p.e.params[3].place, PARAM_QUERY);
	CU_ASSERT_TRUE(p.e.params[3].has_default);
	CU_ASSERT_EQUAL(p.e.bind_count, 9);
	CU_ASSERT_EQUAL(p.e.binds[0].source, BIND_TENANT);
	CU_ASSERT_EQUAL(p.e.binds[1].source, BIND_EVENT_ID);
	CU_ASSERT_EQUAL(p.e.binds[3].source, BIND_PARAM);
	CU_ASSERT_EQUAL(p.e.binds[3].param, 0);
	is(p.e.sql, "INSERT INTO events VALUES (?1, ?2, ?3,\n?4, ?5, ?6, ?7, ?8, ?9, ?4)");
	CU_ASSERT_TRUE(p.e.key_optional);
	CU_ASSERT_EQUAL(p.e.max_body_bytes, 4096);
	CU_ASSERT_EQUAL(p.e.invalidate_count, 2);
	CU_ASSERT_EQUAL(p.e.invalidates[1].parts[1].param, 0);
	CU_ASSERT_EQUAL(p.e.tag_count, 0);
	parsed_free(&p);
}

static void
literals_names_and_comments_are_left_alone(void)
{
	struct parsed p = takes("-- GET /t\n-- param x: integer\n"
				"SELECT ':x', 'it''s :x', \":x\", [:x], `:x` -- :x ; 'open\n"
				"  /* :x ; */ , ':' || :x, 1.5e3 AS n FROM t -- end");

	is(p.e.sql, "SELECT ':x', 'it''s :x', \":x\", [:x], `:x` -- :x ; 'open\n"
		    "  /* :x ; */ , ':' || ?1, 1.5e3 AS n FROM t -- end");
	CU_ASSERT_EQUAL(p.e.bind_count, 1);
	parsed_free(&p);
}

static void
postgresql_has_its_own_quotes_and_casts(void)
{
	struct parsed p = parse_named("thing.postgresql.sql",
	    SLICE("-- GET /t\n-- param x: integer\n"
		  "SELECT $$:y ; $$, $a$ $$ :y $a$, E'\\' :y', a[1], b ? 'k', /* /* :y */ :y */\n"
		  "  :x::text, @ -5"));

	CU_ASSERT_EQUAL(p.rc, ERR_OK);
	is(p.e.name, "thing");
	is(p.e.sql, "SELECT $$:y ; $$, $a$ $$ :y $a$, E'\\' :y', a[1], b ? 'k', /* /* :y */ :y */\n"
		    "  $1::text, @ -5");
	parsed_free(&p);
}

static void
line_ends_marks_and_blanks_of_other_editors_do_not_matter(void)
{
	struct parsed p = takes(
	    "\xef\xbb\xbf-- GET /t \r\n--\tcache : 5s\r\n\r\n  -- Words.\r\nSELECT 1 AS n\r\n");

	CU_ASSERT_EQUAL(p.e.cache.fresh_ms, 5000);
	is(p.e.description, "Words.");
	is(p.e.sql, "SELECT 1 AS n");
	CU_ASSERT_EQUAL(p.e.sql_line, 5);
	parsed_free(&p);
}

static void
a_with_clause_may_stand_before_the_verb(void)
{
	struct parsed p = takes("-- GET /t\nWITH RECURSIVE a (n) AS (SELECT 1), b AS MATERIALIZED "
				"(SELECT replace('a','b','c')) SELECT n FROM a, b");

	parsed_free(&p);
	p = takes("-- PUT /t\nWITH a AS (SELECT 1 AS n) UPDATE t SET n = (SELECT n FROM a)");
	parsed_free(&p);
}

static void
a_url_at_the_beginning_of_a_line_is_description(void)
{
	struct parsed p =
	    takes("-- GET /t\n-- https://example.org/a: more\n-- Note: this.\nSELECT 1 AS n");

	is(p.e.description, "https://example.org/a: more\nNote: this.");
	parsed_free(&p);
}

static void
the_first_line_is_the_route(void)
{
	static const char form[] =
	    ", expected the route, `-- METHOD /path` with GET, POST, PUT, PATCH or DELETE";
	char want[256];

	refuses("SELECT 1", "1: no route, expected `-- METHOD /path` on the first line");
	refuses("GET /t\n",
	    "1: no route, expected `-- METHOD /path` on the first line\n"
	    "1: GET whose statement is \"GET\", expected SELECT: a GET changes nothing");
	(void)snprintf(want, sizeof want, "1: \"get /t\"%s", form);
	refuses("-- get /t\nSELECT 1", want);
	(void)snprintf(want, sizeof want, "1: \"HEAD /t\"%s", form);
	refuses("-- HEAD /t\nSELECT 1", want);
	(void)snprintf(want, sizeof want, "1: \"GET t\"%s", form);
	refuses("-- GET t\nSELECT 1", want);
	(void)snprintf(want, sizeof want, "1: \"GET /t /u\"%s", form);
	refuses("-- GET /t /u\nSELECT 1", want);
}

static void
a_route_has_plain_segments(void)
{
	static const char form[] = "\", expected :name, or letters, digits and -._~ only";
	static const char *const bad[] = { "", ".", "..", "a%20b", "a:b", "\xc3\xa4", "a?b" };
	char text[128], want[256];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		(void)snprintf(text, sizeof text, "-- GET /t/%s\nSELECT 1 AS n", bad[i]);
		(void)snprintf(want, sizeof want, "1: route: segment \"%s%s", bad[i], form);
		refuses(text, want);
	}
	refuses("-- GET /:\nSELECT 1", "1: route: \":\", expected a parameter such as :id");
	refuses("-- GET /:a/:a\n-- param a: text\nSELECT :a",
	    "1: route: \":a\" twice, expected different names");
	refuses("-- GET /status\nSELECT 1",
	    "1: route: /status belongs to the admin socket, expected another path");
}

static void
the_root_is_a_route(void)
{
	struct parsed p = takes("-- GET /\nSELECT 1 AS n");

	CU_ASSERT_EQUAL(p.e.segment_count, 0);
	is(p.e.route, "/");
	parsed_free(&p);
}

static void
an_unknown_directive_names_the_nearest(void)
{
	refuses_line("cahce: 5s", "unknown directive \"cahce\", expected \"cache\"?");
	refuses_line("zzzzzzzzz: 5s", "unknown directive \"zzzzzzzzz\", expected one that there "
				      "is; a description begins otherwise than "
				      "with a lower-case word and a colon");
}

static void
what_looks_like_a_directive_is_warned_of(void)
{
	struct parsed p = parse("-- GET /t\n-- Limit: 5/s\n-- limit per second: 5\nSELECT 1 AS n");

	CU_ASSERT_EQUAL(p.rc, ERR_OK);
	CU_ASSERT_EQUAL(p.faults.errors, 0);
	CU_ASSERT_STRING_EQUAL(told(&p),
	    "2: read as description, expected `limit NAME:` if it is a directive\n"
	    "3: read as description, expected `limit NAME:` if it is a directive");
	parsed_free(&p);
}

static void
a_directive_inside_the_statement_is_a_fault(void)
{
	refuses("-- GET /t\nSELECT 1 AS n\n  -- auth: required\n",
	    "3: directive \"auth: required\" inside the statement, expected it above");
	refuses("-- GET /t\nSELECT 1 AS n;\n-- auth: required\n",
	    "3: directive \"auth: required\" inside the statement, expected it above");
}

static void
parameters_are_declared_and_used(void)
{
	refuses("-- GET /t/:a\n-- param limit: integer\nSELECT :lmit, :a, :zzzz",
	    "1: route parameter \":a\" is not declared, expected `param a:`\n"
	    "3: \":lmit\" is not declared, expected `param lmit: TYPE` (did you mean :limit?)\n"
	    "3: \":zzzz\" is not declared, expected `param zzzz: TYPE`\n"
	    "2: parameter \"limit\" is never used, expected it in statement or tags");
	refuses_statement(
	    "SELECT :event_id", "2: \":event_id\" in a GET, expected it in a write only");
	refuses("-- POST /:a\n-- body a: text\nDELETE FROM t WHERE a = :a",
	    "1: route parameter \":a\" is not declared, expected `param a:`");
}

static void
bad_statements_are_refused(void)
{
	refuses_statement("", "3: no statement, expected one below the comment lines");
	refuses_statement("/* x */ ;", "2: no statement, expected one below the comment lines");
	refuses_statement("SELECT 1; SELECT 2", "2: another statement, expected one in a file");
	refuses_statement("SELECT 1;\n\nSELECT 2", "4: another statement, expected one in a file");
	refuses_statement(
	    "SELECT '1'::text", "2: \"::\" does not run on SQLite, expected CAST(:x AS text)");
	refuses_statement("SELECT ?", "2: placeholder \"?\", expected a named one such as :id");
	refuses_statement("SELECT @a, $1, :1",
	    "2: placeholder \"@a\", expected a named one such as :id\n"
	    "2: placeholder \"$1\", expected a named one such as :id\n"
	    "2: placeholder \":1\", expected a named one such as :id");
	refuses_statement("SELECT 'a", "2: \"'a\n\" is never closed, expected its end");
	refuses_statement("SELECT 1 /* a", "2: \"/* a\n\" is never closed, expected its end");
}

static void
a_get_that_writes_is_refused(void)
{
	static const char *const verbs[] = { "INSERT", "delete", "ATTACH", "PRAGMA", "VACUUM",
		"BEGIN", "CREATE", "REPLACE", "EXPLAIN", "MERGE" };
	char sql[64], want[128];

	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
		(void)snprintf(sql, sizeof sql, "%s x", verbs[i]);
		(void)snprintf(want, sizeof want,
		    "2: GET whose statement is \"%s\", expected SELECT: a GET changes nothing",
		    verbs[i]);
		refuses_statement(sql, want);
	}
	refuses_statement("WITH a AS (SELECT 1) DELETE FROM t",
	    "2: GET whose statement is \"DELETE\", expected SELECT: a GET changes nothing");
	refuses_statement("WITH a AS (DELETE FROM t RETURNING n) SELECT n FROM a",
	    "2: GET whose statement writes, expected one that changes nothing");
}

static void
a_write_that_writes_nothing_is_refused(void)
{
	refuses("-- POST /t\nSELECT 1",
	    "2: POST whose statement is \"SELECT\", expected INSERT, UPDATE or DELETE");
	refuses("-- POST /t\nDROP TABLE t",
	    "2: POST whose statement is \"DROP\", expected INSERT, UPDATE or DELETE");
}

static void
a_required_tenant_that_nothing_uses_is_warned_of(void)
{
	struct parsed p = parse("-- GET /t\n-- auth: required\nSELECT 1 AS n");

	CU_ASSERT_EQUAL(p.rc, ERR_OK);
	CU_ASSERT_TRUE(p.e.uses_tenant);
	CU_ASSERT_STRING_EQUAL(told(&p),
	    "3: auth: required without :tenant in the statement, so all "
	    "tenants see the same, expected it there");
	parsed_free(&p);
}

static void
bytes_that_are_no_text_are_refused(void)
{
	struct parsed p = parse_named("t.sql", SLICE("-- GET /t\nSELECT '\0'"));
	char *large = calloc(1, FRONT_MATTER_MAX_BYTES + 1);

	CU_ASSERT_STRING_EQUAL(told(&p), "0: a NUL byte, expected text");
	parsed_free(&p);
	p = parse_named("t.sql", SLICE("-- GET /t\nSELECT '\xff'"));
	CU_ASSERT_STRING_EQUAL(told(&p), "0: invalid UTF-8, expected UTF-8 text");
	parsed_free(&p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(large);
	memset(large, ' ', FRONT_MATTER_MAX_BYTES + 1);
	p = parse_named("t.sql", (struct slice){ large, FRONT_MATTER_MAX_BYTES + 1 });
	CU_ASSERT_STRING_EQUAL(told(&p), "0: too large, expected at most 262144 bytes");
	CU_ASSERT_EQUAL(p.rc, ERR_INVALID);
	parsed_free(&p);
	free(large);
}

static void
an_empty_file_is_refused(void)
{
	refuses("", "1: no route, expected `-- METHOD /path` on the first line\n"
		    "1: no statement, expected one below the comment lines");
}

static void
a_file_name_is_a_plain_word(void)
{
	struct parsed p = parse_named("a/b.c.sql", SLICE("-- GET /t\nSELECT 1 AS n"));

	CU_ASSERT_STRING_EQUAL(told(&p),
	    "0: name \"b.c\", expected a letter, then letters, digits, - and _ "
	    "(63 at most)");
	parsed_free(&p);
}

static void
every_fault_is_told_in_one_pass(void)
{
	refuses("-- GET /t/:a\n"
		"-- cahce: 5s\n"
		"-- param a: txt\n"
		"-- returns: few\n"
		"SELECT :b::text",
	    "2: unknown directive \"cahce\", expected \"cache\"?\n"
	    "3: param a: type \"txt\", expected text, integer, number, boolean, date, timestamp, "
	    "uuid or json\n"
	    "4: returns: \"few\", expected many or one\n"
	    "5: \":b\" is not declared, expected `param b: TYPE`\n"
	    "5: \"::\" does not run on SQLite, expected CAST(:x AS text)\n"
	    "3: parameter \"a\" is never used, expected it in statement or tags");
}

static void
too_many_of_anything_is_refused_and_harmless(void)
{
	struct strbuf b = STRBUF_INIT(1 << 20);
	struct parsed p;

	strbuf_add_cstr(&b, "-- GET /t\n");
	for (int i = 0; i < 300; i++)
		strbuf_addf(
		    &b, "-- param p%d: text\n-- column c%d: text\n-- limit l%d: 1/s\n", i, i, i);
	strbuf_add_cstr(&b, "SELECT 1");
	p = parse_named("t.sql", strbuf_slice(&b));
	CU_ASSERT_EQUAL(p.rc, ERR_INVALID);
	CU_ASSERT_EQUAL(p.e.param_count, ENDPOINT_MAX_PARAMS);
	CU_ASSERT_EQUAL(p.e.column_count, 256);
	CU_ASSERT_EQUAL(p.e.limit_count, ENDPOINT_MAX_LIMITS);
	/* 236 parameters, 44 columns and 292 limits too many; 64 parameters that nobody uses */
	CU_ASSERT_EQUAL(p.faults.errors, 236 + 44 + 292 + 64);
	parsed_free(&p);
	strbuf_free(&b);
}

static void
a_full_arena_is_told_and_nothing_else(void)
{
	struct fault_list faults;
	struct endpoint e;
	struct arena a;
	enum err rc = ERR_NOMEM;
	size_t bytes = 0;

	for (; rc == ERR_NOMEM && bytes < 16384; bytes += 16) {
		arena_init(&a, bytes);
		fault_init(&faults);
		rc = front_matter_parse(
		    SLICE("-- GET /t/:a\n-- param a: text, one of a|b\n-- tags: t-:a\n"
			  "SELECT :a AS n"),
		    "t.sql", &settings, &a, &e, &faults);
		fault_free(&faults);
		arena_free(&a);
	}
	CU_ASSERT_EQUAL(rc, ERR_OK);
	CU_ASSERT_TRUE(bytes > 1024);
}

static void
the_documentation_comes_from_the_same_table(void)
{
	size_t n = 0, later = 0;
	const struct directive_doc *docs = front_matter_docs(&n);

	CU_ASSERT_EQUAL(n, 20);
	for (size_t i = 0; i < n; i++) {
		CU_ASSERT_TRUE(strlen(docs[i].name) > 0 && strlen(docs[i].form) > 0 &&
			       strlen(docs[i].help) > 0);
		later += docs[i].later;
	}
	CU_ASSERT_EQUAL(later, 1);
	CU_ASSERT_STRING_EQUAL(docs[0].name, "param NAME");
}

UNIT_SUITE(front_matter, TEST(a_read_is_taken_whole),
    TEST(what_a_file_does_not_say_has_its_default), TEST(a_write_is_taken_whole),
    TEST(literals_names_and_comments_are_left_alone), TEST(postgresql_has_its_own_quotes_and_casts),
    TEST(line_ends_marks_and_blanks_of_other_editors_do_not_matter),
    TEST(a_with_clause_may_stand_before_the_verb),
    TEST(a_url_at_the_beginning_of_a_line_is_description), TEST(the_first_line_is_the_route),
    TEST(a_route_has_plain_segments), TEST(the_root_is_a_route),
    TEST(an_unknown_directive_names_the_nearest), TEST(what_looks_like_a_directive_is_warned_of),
    TEST(a_directive_inside_the_statement_is_a_fault), TEST(parameters_are_declared_and_used),
    TEST(bad_statements_are_refused), TEST(a_get_that_writes_is_refused),
    TEST(a_write_that_writes_nothing_is_refused),
    TEST(a_required_tenant_that_nothing_uses_is_warned_of),
    TEST(bytes_that_are_no_text_are_refused), TEST(an_empty_file_is_refused),
    TEST(a_file_name_is_a_plain_word), TEST(every_fault_is_told_in_one_pass),
    TEST(too_many_of_anything_is_refused_and_harmless), TEST(a_full_arena_is_told_and_nothing_else),
    TEST(the_documentation_comes_from_the_same_table));
