/* Goal: people and programs are told the same, exactly, and what is not known is not made up. */
#include "runtime/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/str.h"
#include "runtime/status.h"
#include "tests/support/unit.h"
#include "tests/unit/runtime/snapshots.h"

enum { BYTES_MAX = 1 << 20 };

static struct config *config;
static struct snapshot *snap;
static struct strbuf said;
static struct arena arena;

static void
begin(void)
{
	static const char *const environment[] = { "DB_WRITE_URL=postgres://u:secret@h/d",
		"WEIR_STATE_DIR=/srv/weir", "WEIR_HANDLERS=/tmp", NULL };
	const struct config_input in = { .environment = environment, .env_file = "/dev/null" };
	struct fault_list faults;

	fault_init(&faults);
	CU_ASSERT_EQUAL(config_load(&in, &faults, &config), ERR_OK);
	fault_free(&faults);
	snap = snapshot_by_hand(config);
	CU_ASSERT_PTR_NOT_NULL_FATAL(snap);
	said = STRBUF_INIT(BYTES_MAX);
	arena_init(&arena, BYTES_MAX);
}

static void
end(void)
{
	arena_free(&arena);
	strbuf_free(&said);
	snapshot_free(&snap);
	config_free(&config);
}

/* The raw value at a path such as "consumer.state"; absent when it is not there. */
static struct slice
at(const char *path)
{
	struct slice value = strbuf_slice(&said), rest = slice_of(path);

	while (rest.ptr != NULL) {
		const struct slice name = slice_cut(&rest, '.');
		struct json_member *m;
		struct json_fault fault;
		struct slice found = { NULL, 0 };
		size_t n;

		if (json_scan_object(value, &arena, &m, &n, &fault) != ERR_OK)
			return found;
		for (size_t i = 0; i < n; i++)
			if (slice_eq(m[i].name, name))
				found = m[i].raw;
		value = found;
	}
	return value;
}

static bool
says(const char *text)
{
	return said.len > 0 && memmem(said.ptr, said.len, text, strlen(text)) != NULL;
}

#define IS(path, want) CU_ASSERT_TRUE(slice_eq_cstr(at(path), want))

static void
json_tells_every_part(void)
{
	begin();
	snapshot_json(snap, false, &said);
	CU_ASSERT_FALSE(said.failed);
	IS("timeMs", "1800000000123");
	IS("upMs", "7500000");
	IS("stateDir", "\"/srv/weir\"");
	IS("hosts", "3");
	IS("inHand", "3");
	IS("lanes.busy", "2");
	IS("parked.queue", "1");
	IS("consumer.state", "\"stopped\"");
	IS("consumer.reason", "\"notes: 42P01 no \\\"notes\\\"\"");
	IS("spool.oldestMs", "61000");
	IS("cache.entries", "52");
	IS("row.p99Us", "12000");
	IS("capacity.ratio", "1.25");
	IS("capacity.reason", "\"lanes\"");
	CU_ASSERT_TRUE(says("\"databaseReads\":[{\"target\":\"replica-1\",\"running\":7,\"limit\":"
			    "12,\"max\":50}]"));
	CU_ASSERT_TRUE(
	    says("\"limits\":[{\"policy\":\"default\",\"allowed\":900,\"refused\":100,"));
	end();
}

static void
integers_are_exact_and_fractions_as_they_were_reckoned(void)
{
	begin();
	snapshot_json(snap, false, &said);
	IS("counters.weir_queries_total", "9223372036854775807");
	CU_ASSERT_TRUE(strtod(at("window.requestsPerS").ptr, NULL) >= 1000.0 * 1000 / 3000 &&
		       strtod(at("window.requestsPerS").ptr, NULL) <= 1000.0 * 1000 / 3000);
	CU_ASSERT_TRUE(strtod(at("window.l1HitRatio").ptr, NULL) >= 2.0 / 3 &&
		       strtod(at("window.l1HitRatio").ptr, NULL) <= 2.0 / 3);
	IS("window.errorsPerS", "0");
	end();
}

static void
what_is_not_known_is_null(void)
{
	begin();
	snap->spool_known = false;
	snap->window.ms = 0;
	snap->hosts = 0;
	snapshot_json(snap, false, &said);
	IS("spool", "null");
	IS("window.requestsPerS", "null");
	IS("window.l2HitRatio", "null");
	IS("hosts", "null");
	IS("row.lag", "null");
	IS("forwarder", "null");
	IS("readConnections", "null");
	end();
}

static void
settings_and_history_come_only_when_all_is_asked_for_and_without_secrets(void)
{
	begin();
	snapshot_json(snap, false, &said);
	CU_ASSERT_PTR_NULL(at("history").ptr);
	CU_ASSERT_PTR_NULL(at("settings").ptr);
	CU_ASSERT_FALSE(says("\"threads\":["));
	strbuf_free(&said);
	said = STRBUF_INIT(BYTES_MAX);
	snapshot_json(snap, true, &said);
	CU_ASSERT_PTR_NOT_NULL(at("history.rows").ptr);
	CU_ASSERT_TRUE(says("\"rows\":[[999000,"));
	CU_ASSERT_TRUE(says("\"threads\":[{\"thread\":2,\"does\":\"steps\",\"endpoint\":"
			    "\"countries\",\"forMs\":240}]"));
	CU_ASSERT_TRUE(says("DB_WRITE_URL"));
	CU_ASSERT_FALSE(says("secret"));
	snapshot_text(snap, true, &said);
	CU_ASSERT_FALSE(says("secret"));
	end();
}

static void
text_begins_with_what_is_urgent(void)
{
	begin();
	snapshot_text(snap, false, &said);
	CU_ASSERT_TRUE(says("up 2 h 5 min"));
	CU_ASSERT_TRUE(says("!!  the consumer has stopped: notes: 42P01"));
	CU_ASSERT_TRUE(says("!!  breaker redis-1 is open"));
	CU_ASSERT_TRUE(says("333.3 requests/s over the last 3 s, p50 0.04 ms, p99 12.00 ms"));
	CU_ASSERT_TRUE(says("L1 66.7 % hits, 52 copies, 1.0 MiB of 16.0 MiB"));
	CU_ASSERT_TRUE(says("2 of 16 busy, 5 wait"));
	CU_ASSERT_TRUE(says("replica-1: 7 of 12 reads, at most 50\n"));
	CU_ASSERT_TRUE(says("7 waiting, the oldest for 61 s"));
	CU_ASSERT_TRUE(says("countries for 250 ms, lane"));
	CU_ASSERT_TRUE(says("default: 900 allowed, 100 refused, 0 observed"));
	CU_ASSERT_FALSE(says("weir_requests_total"));
	end();
}

static void
a_worker_without_a_heartbeat_is_silent_and_named(void)
{
	struct snapshot_alarm alarms[SNAPSHOT_ALARMS];

	begin();
	snap->members[1].view.beat_ms = snap->now_ms - 4000;
	CU_ASSERT_STRING_EQUAL(snapshot_member_word(snap, &snap->members[1]), "silent");
	CU_ASSERT_EQUAL_FATAL(snapshot_alarms(snap, alarms), 3);
	CU_ASSERT_TRUE(alarms[0].grave);
	snapshot_text(snap, false, &said);
	CU_ASSERT_TRUE(says("worker 101 has shown no heartbeat for 4 s"));
	end();
}

static void
a_pool_that_is_well_raises_no_alarm(void)
{
	struct snapshot_alarm alarms[SNAPSHOT_ALARMS];

	begin();
	snap->consumer.state = INGEST_IDLE;
	snap->breakers[0].breaker.state = BREAKER_CLOSED;
	CU_ASSERT_EQUAL(snapshot_alarms(snap, alarms), 0);
	snap->member_count = 1;
	CU_ASSERT_EQUAL_FATAL(snapshot_alarms(snap, alarms), 1);
	CU_ASSERT_STRING_EQUAL(alarms[0].text, "no worker is up");
	end();
}

static void
there_is_room_for_the_gravest_alarms_only(void)
{
	struct snapshot_alarm alarms[SNAPSHOT_ALARMS];

	begin();
	for (size_t i = 0; i < GUARDS_MAX; i++)
		snap->breakers[i] = snap->breakers[0];
	snap->breaker_count = GUARDS_MAX;
	CU_ASSERT_EQUAL(snapshot_alarms(snap, alarms), SNAPSHOT_ALARMS);
	end();
}

/*
 * Which form.
 */
static void
a_browser_gets_the_page_a_program_json_and_curl_text(void)
{
	static const struct {
		const char *query, *accept;
		enum status_form form;
		bool full;
	} rows[] = {
		{ NULL, "text/html,application/xhtml+xml,*/*;q=0.8", STATUS_PAGE, false },
		{ NULL, "*/*", STATUS_TEXT, false },
		{ NULL, NULL, STATUS_TEXT, false },
		{ NULL, "application/json", STATUS_JSON, false },
		{ "json", "text/html", STATUS_JSON, false },
		{ "json&full", NULL, STATUS_JSON, true },
		{ "full&json=1", NULL, STATUS_JSON, true },
		{ "full", NULL, STATUS_TEXT, true },
		{ "full", "text/html", STATUS_TEXT, true },
		{ "html", NULL, STATUS_PAGE, false },
		{ "text", "text/html", STATUS_TEXT, false },
		{ "jsonp", NULL, STATUS_TEXT, false },
		{ "", "text/html", STATUS_PAGE, false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		bool full;

		CU_ASSERT_EQUAL(
		    status_form_of(slice_of(rows[i].query), slice_of(rows[i].accept), &full),
		    rows[i].form);
		CU_ASSERT_EQUAL(full, rows[i].full);
	}
}

UNIT_SUITE(snapshot, TEST(json_tells_every_part),
    TEST(integers_are_exact_and_fractions_as_they_were_reckoned), TEST(what_is_not_known_is_null),
    TEST(settings_and_history_come_only_when_all_is_asked_for_and_without_secrets),
    TEST(text_begins_with_what_is_urgent), TEST(a_worker_without_a_heartbeat_is_silent_and_named),
    TEST(a_pool_that_is_well_raises_no_alarm), TEST(there_is_room_for_the_gravest_alarms_only),
    TEST(a_browser_gets_the_page_a_program_json_and_curl_text));
