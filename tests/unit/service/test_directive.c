/* Goal: what stands behind the colon of a directive is taken, or refused with what was expected. */
#include "tests/unit/service/parse.h"

static void
refuses_param(const char *form, const char *want)
{
	char text[512], whole[512];

	(void)snprintf(text, sizeof text, "-- GET /t\n-- param x: %s\nSELECT :x AS n\n", form);
	(void)snprintf(whole, sizeof whole, "2: param x: %s", want);
	refuses(text, whole);
}

static void
limits_are_read_in_all_forms(void)
{
	struct parsed p = takes("-- GET /t\n"
				"-- limit: 100/s by client, burst 200\n"
				"-- limit daily: 5000/d, by tenant, observe\n"
				"-- limit slow: 5/10s by ip sliding-window\n"
				"-- limit hour-ly: 60/h\n"
				"SELECT 1 AS n");
	const struct limit_rule *r = p.e.limits;

	CU_ASSERT_EQUAL_FATAL(p.e.limit_count, 4);
	is(r[0].name, "default");
	CU_ASSERT_EQUAL(r[0].quota, 100);
	CU_ASSERT_EQUAL(r[0].window_ms, 1000);
	CU_ASSERT_EQUAL(r[0].burst, 200);
	is(r[1].name, "daily");
	CU_ASSERT_EQUAL(r[1].window_ms, 86400000);
	CU_ASSERT_EQUAL(r[1].by, LIMIT_BY_TENANT);
	CU_ASSERT_EQUAL(r[1].burst, 5000);
	CU_ASSERT_TRUE(r[1].observe);
	CU_ASSERT_EQUAL(r[2].window_ms, 10000);
	CU_ASSERT_EQUAL(r[2].by, LIMIT_BY_IP);
	CU_ASSERT_EQUAL(r[2].algorithm, LIMIT_SLIDING_WINDOW);
	CU_ASSERT_EQUAL(r[3].algorithm, LIMIT_TOKEN_BUCKET);
	CU_ASSERT_NOT_EQUAL(r[0].seed, r[1].seed);
	CU_ASSERT_NOT_EQUAL(r[1].seed, r[2].seed);
	parsed_free(&p);
}

static void
a_burst_makes_a_bucket_whatever_the_default_algorithm(void)
{
	struct catalog_options sliding = settings;
	struct parsed p = { .rc = ERR_IO };

	sliding.limit_algorithm = LIMIT_SLIDING_WINDOW;
	arena_init(&p.arena, 1 << 20);
	fault_init(&p.faults);
	p.rc = front_matter_parse(
	    SLICE("-- GET /t\n-- limit: 5/s burst 9\n-- limit b: 5/s\nSELECT 1 AS n"), "t.sql",
	    &sliding, &p.arena, &p.e, &p.faults);
	CU_ASSERT_EQUAL_FATAL(p.rc, ERR_OK);
	CU_ASSERT_EQUAL(p.e.limits[0].algorithm, LIMIT_TOKEN_BUCKET);
	CU_ASSERT_EQUAL(p.e.limits[1].algorithm, LIMIT_SLIDING_WINDOW);
	parsed_free(&p);
}

static void
other_figures_are_another_bucket(void)
{
	struct parsed a = takes("-- GET /t\n-- limit: 5/s\nSELECT 1 AS n");
	struct parsed b = takes("-- GET /t\n-- limit: 6/s\nSELECT 1 AS n");
	struct parsed c = takes("-- GET /t\n-- limit: 5/s\nSELECT 2 AS n");

	CU_ASSERT_NOT_EQUAL(a.e.limits[0].seed, b.e.limits[0].seed);
	CU_ASSERT_EQUAL(a.e.limits[0].seed, c.e.limits[0].seed);
	parsed_free(&a);
	parsed_free(&b);
	parsed_free(&c);
}

static void
later_directives_are_refused(void)
{
	static const char *const words[] = { "run" };
	char line[64], want[128];

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		(void)snprintf(line, sizeof line, "%s: x", words[i]);
		(void)snprintf(want, sizeof want,
		    "%s: comes with a later version, expected no such line", words[i]);
		refuses_line(line, want);
	}
}

static void
a_priority_is_one_of_three(void)
{
	struct parsed p = takes("-- GET /t\nSELECT 1 AS n");

	CU_ASSERT_EQUAL(p.e.priority, PRIORITY_NORMAL);
	parsed_free(&p);
	p = takes("-- GET /t\n-- priority: critical\nSELECT 1 AS n");
	CU_ASSERT_EQUAL(p.e.priority, PRIORITY_CRITICAL);
	parsed_free(&p);
	p = takes("-- GET /t\n-- priority: bulk\nSELECT 1 AS n");
	CU_ASSERT_EQUAL(p.e.priority, PRIORITY_BULK);
	parsed_free(&p);
	refuses_line("priority: high", "priority: \"high\", expected critical, normal or bulk");
}

static void
a_write_names_its_topic_and_what_orders_it(void)
{
	struct parsed p = takes("-- POST /t/:id\n-- queue: orders.v-1\n-- key: :id\n"
				"-- param id: text\nDELETE FROM t");

	CU_ASSERT_STRING_EQUAL(p.e.topic, "orders.v-1");
	CU_ASSERT_TRUE(slice_eq_cstr(p.e.partition_param, "id")); /* which counts as used */
	parsed_free(&p);
	p = takes("-- POST /t\n-- key: idempotency-key\nDELETE FROM t");
	CU_ASSERT_PTR_NULL(p.e.topic);
	CU_ASSERT_PTR_NULL(p.e.partition_param.ptr);
	parsed_free(&p);
	refuses("-- POST /t\n-- queue: a b\nDELETE FROM t",
	    "2: queue: \"a b\", expected a topic of Kafka: letters, digits, '.', '_' and '-' (245 "
	    "at "
	    "most)");
	refuses("-- POST /t\n-- queue: ..\nDELETE FROM t",
	    "2: queue: \"..\", expected a topic of Kafka: letters, digits, '.', '_' and '-' (245 "
	    "at "
	    "most)");
	refuses("-- POST /t\n-- key: id\nDELETE FROM t",
	    "2: key: \"id\", expected idempotency-key or :NAME");
	refuses("-- POST /t\n-- key: :id\nDELETE FROM t",
	    "2: \":id\" is not a declared parameter, expected one");
	refuses_line(
	    "queue: x", "queue: on a GET, expected it on a POST, PUT, PATCH or DELETE only");
}

static void
a_directive_has_its_own_form(void)
{
	refuses_line("cache x: 5s", "cache x: a name, expected `cache:`");
	refuses_line("param: text", "param: no name, expected `param NAME:`");
	refuses_line("limit a.b: 5/s",
	    "limit a.b: not a name, expected letters, digits, - and _ (63 at most)");
	refuses_line(
	    "body x: text", "body: on a GET, expected it on a POST, PUT, PATCH or DELETE only");
	refuses_line("cache:",
	    "cache: nothing behind the colon, expected DURATION[, stale DURATION]"
	    "[, if-error DURATION], or off");
	refuses("-- GET /t\n-- auth: none\n-- auth: none\nSELECT 1",
	    "3: auth: a second time (first on line 2), expected it once");
	refuses("-- POST /t\n-- cache: 5s\nDELETE FROM t",
	    "2: cache: on a POST, expected it on a GET only");
}

static void
values_of_directives_are_checked(void)
{
	refuses_line("returns: some", "returns: \"some\", expected many or one");
	refuses_line("auth: maybe", "auth: \"maybe\", expected none, optional or required");
	refuses_line("max-rows: 0", "max-rows: \"0\", expected a number from 1 to 1000000");
	refuses_line(
	    "timeout: 5", "timeout: \"5\", expected a duration from 1ms to 3600s, such as 30s");
	refuses_line(
	    "cache: 5s, stale", "cache: \"stale\", expected stale DURATION or if-error DURATION");
	refuses_line(
	    "cache: 5s, stale 1s, stale 2s", "cache: \"stale 2s\" a second time, expected it once");
	refuses_line(
	    "cache: 5x", "cache: \"5x\", expected a duration from 1ms to 366d, such as 30s");
	refuses_line("column n: txt",
	    "column n: \"txt\", expected text, integer, number, boolean, date, "
	    "timestamp, uuid or json");
	refuses("-- GET /t\n-- column n: text\n-- column n: text\nSELECT 1 AS n",
	    "3: column n: a second time, expected it once");
	refuses("-- POST /t\n-- idempotency: no\n-- max-body: 0\nDELETE FROM t",
	    "2: idempotency: \"no\", expected required or optional\n"
	    "3: max-body: \"0\", expected a size from 1 to 1g, such as 64k");
}

static void
a_read_may_vary_by_headers(void)
{
	struct parsed p =
	    takes("-- GET /t\n-- vary: header Accept-Language, header x_y\nSELECT 1 AS n");

	CU_ASSERT_EQUAL(p.e.vary_count, 2);
	CU_ASSERT_TRUE(slice_eq_cstr(p.e.vary[0].name, "Accept-Language"));
	CU_ASSERT_TRUE(slice_eq_cstr(p.e.vary[0].param, "HTTP_ACCEPT_LANGUAGE"));
	CU_ASSERT_TRUE(slice_eq_cstr(p.e.vary[1].param, "HTTP_X_Y"));
	parsed_free(&p);
	refuses_line("vary: Accept",
	    "vary: \"Accept\", expected header NAME, such as header Accept-Language");
	refuses_line("vary: header Content-Type",
	    "vary: \"header Content-Type\", expected header NAME, such as header Accept-Language");
	refuses_line(
	    "vary: header X-A, header x_a", "vary: header x_a a second time, expected it once");
	refuses_line("vary: header A, header B, header C, header D, header E",
	    "vary: header E is one too many, expected at most 4");
	refuses("-- POST /t\n-- vary: header A\nDELETE FROM t",
	    "2: vary: on a POST, expected it on a GET only");
}

static void
cors_names_origins_headers_and_an_age(void)
{
	struct parsed p = takes("-- POST /t\n-- cors: https://app.example.com, "
				"http://localhost:3000, headers X-One  x-two, max-age 1h, "
				"credentials\nDELETE FROM t");
	const struct cors_rule *c = p.e.cors;

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_FALSE(c->any);
	CU_ASSERT_TRUE(c->credentials);
	CU_ASSERT_EQUAL_FATAL(c->origin_count, 2);
	is(c->origins[0], "https://app.example.com");
	is(c->origins[1], "http://localhost:3000");
	is(c->headers, "Authorization, Content-Type, Idempotency-Key, If-None-Match, traceparent, "
		       "tracestate, X-API-Key, X-Weir-Consistency, X-One, x-two");
	is(c->max_age, "3600");
	parsed_free(&p);
	p = takes("-- GET /t\n-- cors: *\nSELECT 1 AS n");
	CU_ASSERT_TRUE(p.e.cors->any);
	CU_ASSERT_FALSE(p.e.cors->credentials);
	is(p.e.cors->max_age, "600");
	parsed_free(&p);
	p = takes("-- GET /t\nSELECT 1 AS n");
	CU_ASSERT_PTR_NULL(p.e.cors);
	parsed_free(&p);
}

static void
cors_refuses_what_no_browser_would_match(void)
{
	static const char *const never[] = { "https://App.example.com", "https://a.example/",
		"https://a.example/path", "https://a.example:443", "http://a.example:80",
		"a.example", "https://", "null", "https://*.example.com",
		"https://a.example:", "credential" };
	char line[128], want[384];

	for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
		(void)snprintf(line, sizeof line, "cors: %s, https://good.example", never[i]);
		(void)snprintf(want, sizeof want,
		    "cors: \"%s\", expected *, an origin as browsers send it "
		    "(https://app.example.com: lower case, no path, no default port), headers "
		    "NAME, "
		    "max-age DURATION or credentials",
		    never[i]);
		refuses_line(line, want);
	}
}

static void
cors_never_opens_credentials_to_everybody(void)
{
	refuses_line("cors: *, credentials",
	    "cors: * with credentials, expected the origins that may use them (browsers refuse the "
	    "two together)");
	refuses_line(
	    "cors: *, https://a.example", "cors: * beside an origin, expected one or the other");
	refuses_line("cors: credentials", "cors: no origin, expected * or https://app.example.com");
	refuses_line("cors: *, headers X-A *",
	    "cors: headers \"*\", expected the names of headers, separated by blanks");
	refuses_line("cors: *, max-age 600",
	    "cors: max-age \"600\", expected a duration from 1ms to 86400s, such as 30s");
}

static void
bad_limits_are_refused(void)
{
	static const char option[] =
	    ", expected by client|tenant|ip, burst N (1 to 1000000000), sliding-window, "
	    "token-bucket or observe";
	static const char *const rates[] = { "0/s", "-1/s", "5", "5/", "5/x", "5/10", "x/s",
		"1000000001/s", "5/0s", "9999999999999999999/s" };
	char line[128], want[256];

	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		(void)snprintf(line, sizeof line, "limit: %s", rates[i]);
		(void)snprintf(want, sizeof want,
		    "limit: \"%s\", expected N/s, N/m, N/h, N/d or N/DURATION, such as 100/s or "
		    "5/10s (N "
		    "up to 1000000000)",
		    rates[i]);
		refuses_line(line, want);
	}
	(void)snprintf(want, sizeof want, "limit: \"by me\"%s", option);
	refuses_line("limit: 5/s by me", want);
	(void)snprintf(want, sizeof want, "limit: \"burst \"%s", option);
	refuses_line("limit: 5/s burst", want);
	(void)snprintf(want, sizeof want, "limit: \"fast\"%s", option);
	refuses_line("limit: 5/s fast", want);
	refuses_line("limit: 5/s by ip by ip", "limit: \"by\" a second time, expected it once");
	refuses_line("limit: 5/s burst 9 sliding-window",
	    "limit: burst with sliding-window, expected it with token-bucket");
	refuses_line("limit: 1048576/s sliding-window",
	    "limit: 1048576 in a sliding window, expected at most 1048575");
	refuses_line("limit: 1000000000/1ms",
	    "limit: more than one in a nanosecond, expected fewer or a longer time");
	refuses_line("limit: 1/d burst 1000",
	    "limit: a bucket that takes over 366d to fill, expected a smaller burst");
	refuses("-- GET /t\n-- limit: 5/s\n-- limit: 6/s\nSELECT 1",
	    "3: limit: a second one named \"default\", expected `limit NAME:` with another name");
}

static void
bad_parameters_are_refused(void)
{
	refuses_param("txt",
	    "type \"txt\", expected text, integer, number, boolean, date, timestamp, uuid "
	    "or json");
	refuses_param("object",
	    "type \"object\", expected text, integer, number, boolean, date, timestamp, "
	    "uuid or json");
	refuses_param("text, long",
	    "\"long\", expected min N, max N, length N, one of a|b|c, default V or "
	    "optional");
	refuses_param("text, default",
	    "\"default\", expected min N, max N, length N, one of a|b|c, default V "
	    "or optional");
	refuses_param("text, optional, optional", "optional a second time, expected it once");
	refuses_param("text, min -1", "min \"-1\", expected an integer of at least 0");
	refuses_param("integer, min 1.5", "min \"1.5\", expected an integer");
	refuses_param("integer, min 5, max 4", "min above max, expected it below");
	refuses_param(
	    "boolean, min 1", "min of type boolean, expected type text, integer or number");
	refuses_param("integer, length 2", "length of type integer, expected type text");
	refuses_param("text, length 2, max 3", "length beside min or max, expected one of the two");
	refuses_param("json, one of a|b", "one of with type json, expected a scalar type");
	refuses_param("integer, one of 1|b", "one of \"b\", expected an integer");
	refuses_param("integer, default x", "default \"x\", expected an integer");
	refuses_param(
	    "integer, max 5, default 6", "default \"6\", expected an integer of at most 5");
	refuses_param("text, one of a|b, default c", "default \"c\", expected one of a, b");
	refuses_param(
	    "text, optional, default c", "optional beside default, expected one of the two");
}

static void
bad_names_of_parameters_are_refused(void)
{
	refuses("-- GET /t\n-- param a-b: text\nSELECT 1",
	    "2: param a-b: not a name, expected a letter or _, then letters, digits and _ (63 at "
	    "most)\n"
	    "2: parameter \"a-b\" is never used, expected it in statement or tags");
	refuses("-- GET /t\n-- param now: text\nSELECT :now",
	    "2: param now: a name that weir fills itself, expected another");
	refuses("-- GET /t\n-- param fields: text\nSELECT :fields",
	    "2: param fields: a name kept for ?fields=, expected another");
	refuses("-- GET /t\n-- param a: text\n-- param a: text\nSELECT :a",
	    "3: param a: a second time (first on line 2), expected one line for each name");
	refuses("-- GET /:a\n-- param a: text, optional\nSELECT :a",
	    "2: param a: a default for a part of the path, which is always there; expected none");
}

static void
a_parameter_that_only_a_tag_uses_is_used(void)
{
	struct parsed p = takes("-- GET /t\n-- param a: text\n-- tags: t-:a\nSELECT 1 AS n");

	parsed_free(&p);
	p = takes("-- POST /t\n-- body a: text\n-- invalidates: t-:a\nDELETE FROM t");
	parsed_free(&p);
}

static void
bad_tags_are_refused(void)
{
	refuses_line(
	    "tags: a, , b", "tag \"\", expected 1 to 200 visible ASCII characters without quotes");
	refuses_line(
	    "tags: a b", "tag \"a b\", expected 1 to 200 visible ASCII characters without quotes");
	refuses_line("tags: a-:x", "\":x\" is not a declared parameter, expected one");
	refuses_line("tags: a-:", "\":\" is not a declared parameter, expected one");
	refuses("-- GET /t\n-- param j: json\n-- tags: a-:j\nSELECT :j",
	    "3: \":j\" is json, expected a parameter that is one word of text or a number");
	refuses_line("tags: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o", "more than 14 tags, expected fewer");
}

UNIT_SUITE(directive, TEST(limits_are_read_in_all_forms),
    TEST(a_burst_makes_a_bucket_whatever_the_default_algorithm),
    TEST(other_figures_are_another_bucket), TEST(later_directives_are_refused),
    TEST(a_priority_is_one_of_three), TEST(a_write_names_its_topic_and_what_orders_it),
    TEST(a_directive_has_its_own_form), TEST(values_of_directives_are_checked),
    TEST(a_read_may_vary_by_headers), TEST(cors_names_origins_headers_and_an_age),
    TEST(cors_refuses_what_no_browser_would_match), TEST(cors_never_opens_credentials_to_everybody),
    TEST(bad_limits_are_refused), TEST(bad_parameters_are_refused),
    TEST(bad_names_of_parameters_are_refused), TEST(a_parameter_that_only_a_tag_uses_is_used),
    TEST(bad_tags_are_refused));
