/* Goal: a dead letter can be seen, tried again and dropped. */
#include "service/dead_letters.h"

#include "service/writer.h"
#include "tests/unit/service/write_house.h"

static const int64_t now_us = 1000000000123456; /* 2001-09-09T01:46:40.123456Z */
static const int64_t ttl_us = 1000000;

static struct write_house h;
static struct writer *w;
static struct writer_failure why;
static struct strbuf out;

static void
open_fresh(void)
{
	write_house_make(&h);
	out = STRBUF_INIT(1 << 20);
	CU_ASSERT_EQUAL_FATAL(writer_open(&h.o.database, &w, &why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(writer_migrate(w, &why), ERR_OK);
}

static void
close_all(void)
{
	writer_close(&w);
	strbuf_free(&out);
	write_house_free(&h);
}

/* An event that the consumer gave up. */
static void
bury(const char *endpoint, const char *tenant, const char *key, struct slice payload,
    const char *message)
{
	struct writer_failure reason;
	enum writer_claim claim;
	struct spool_write sw;

	spool_write_make(&sw, endpoint, tenant, key, payload, now_us - 1000000);
	sw.ev.record = sw.item.record;
	writer_failure_set(&reason, WRITER_BAD_EVENT, "23000", message);
	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_claim_keys(w, &sw.ev, 1, now_us, ttl_us, &claim, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_bury(w, &sw.ev, &reason, now_us, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	arena_free(&sw.arena);
}

static void
bury_later(const char *key)
{
	bury("later", "acme", key, SLICE("p"), "no such table: later");
}

static struct slice
id_text(const char *endpoint, const char *tenant, const char *key)
{
	static char text[EVENT_ID_TEXT];
	uint8_t id[EVENT_ID_BYTES];

	event_id_make(slice_of(tenant), slice_of(endpoint), slice_of(key), id);
	event_id_text(id, text);
	return slice_of(text);
}

static bool
out_has(const char *text)
{
	char *all = strndup(out.len == 0 ? "" : out.ptr, out.len);
	const bool has = all != NULL && strstr(all, text) != NULL;

	if (!has)
		(void)printf("%s\n  lacks %s\n", all, text);
	free(all);
	return has;
}

static int64_t
letters(void)
{
	return house_ask(&h, "SELECT count(*) FROM weir_dead_letters");
}

static void
without_letters_the_list_is_empty(void)
{
	open_fresh();
	CU_ASSERT_EQUAL(dead_letters_list(&h.o.database, false, &out), ERR_OK);
	CU_ASSERT_EQUAL(dead_letters_list(&h.o.database, true, &out), ERR_OK);
	CU_ASSERT_EQUAL(out.len, 0);
	close_all();
}

static void
the_list_is_text_or_json_lines(void)
{
	open_fresh();
	bury("create", "acme", "k1", SLICE("bad"), "CHECK constraint failed");
	bury("create", "beta", "k2", SLICE("bad"), "say \"no\"");
	CU_ASSERT_EQUAL(dead_letters_list(&h.o.database, false, &out), ERR_OK);
	CU_ASSERT_TRUE(out_has("CHECK constraint failed\n"));
	CU_ASSERT_TRUE(out_has(id_text("create", "beta", "k2").ptr));
	strbuf_free(&out);
	out = STRBUF_INIT(1 << 20);
	CU_ASSERT_EQUAL(dead_letters_list(&h.o.database, true, &out), ERR_OK);
	CU_ASSERT_TRUE(out_has("\"endpoint\":\"create\",\"tenant\":\"acme\",\"key\":\"k1\","
			       "\"sqlstate\":\"23000\",\"message\":\"CHECK constraint failed\","
			       "\"acceptedAt\":\"2001-09-09T01:46:39.123456Z\","
			       "\"failedAt\":\"2001-09-09T01:46:40.123456Z\"}\n{\"eventId\":"));
	CU_ASSERT_TRUE(out_has("\"message\":\"say \\\"no\\\"\""));
	close_all();
}

static void
one_letter_is_shown_with_its_parameters(void)
{
	open_fresh();
	bury("create", "acme", "k1", SLICE("bad"), "CHECK constraint failed");
	bury("create", "acme", "k2", SLICE("also bad"), "CHECK constraint failed");
	CU_ASSERT_EQUAL(
	    dead_letters_show(&h.o.database, id_text("create", "acme", "k2"), &out), ERR_OK);
	CU_ASSERT_TRUE(out_has("key       k2\n"));
	CU_ASSERT_TRUE(out_has("payload (text): \"also bad\"\n"));
	CU_ASSERT_EQUAL(
	    dead_letters_show(&h.o.database, id_text("create", "acme", "k3"), &out), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(dead_letters_show(&h.o.database, SLICE("k2"), &out), ERR_INVALID);
	close_all();
}

/* Keys and messages hold what clients sent; the terminal must not obey them. */
static void
nothing_that_a_client_sent_reaches_the_terminal_raw(void)
{
	open_fresh();
	bury("create", "acme", "k\x1b[2J", SLICE("bad\x1b]0;x\x07"),
	    "no \x1b[31m and \xff\xc3 and ok \xc3\xa9");
	CU_ASSERT_EQUAL(dead_letters_list(&h.o.database, false, &out), ERR_OK);
	CU_ASSERT_EQUAL(dead_letters_list(&h.o.database, true, &out), ERR_OK);
	CU_ASSERT_EQUAL(
	    dead_letters_show(&h.o.database, id_text("create", "acme", "k\x1b[2J"), &out), ERR_OK);
	CU_ASSERT_TRUE(out_has("no ?[31m and ?? and ok \xc3\xa9"));
	CU_ASSERT_PTR_NULL(memchr(out.ptr, '\x1b', out.len));
	CU_ASSERT_PTR_NULL(memchr(out.ptr, '\x07', out.len));
	CU_ASSERT_TRUE(utf8_valid(strbuf_slice(&out), NULL));
	close_all();
}

struct progress {
	uint64_t calls, tried, total, failed;
};

static void
note_progress(void *ctx, uint64_t tried, uint64_t total, uint64_t failed)
{
	struct progress *p = ctx;

	*p = (struct progress){ p->calls + 1, tried, total, failed };
}

static enum err
retry(struct slice id, uint64_t *done, uint64_t *failed, struct progress *p)
{
	writer_close(&w); /* its place is taken */
	return dead_letters_retry(
	    &h.o.database, h.catalog, NULL, id, p == NULL ? NULL : note_progress, p, done, failed);
}

static void
what_can_be_applied_now_is_and_its_letter_goes(void)
{
	struct progress p = { 0 };
	uint64_t done, failed;

	open_fresh();
	bury_later("k1");
	bury("create", "acme", "k2", SLICE("bad"), "CHECK constraint failed");
	bury_later("k3");
	CU_ASSERT_EQUAL(house_run(&h, "CREATE TABLE later (payload TEXT)"), ERR_OK);
	CU_ASSERT_EQUAL(retry((struct slice){ 0 }, &done, &failed, &p), ERR_OK);
	CU_ASSERT_EQUAL(done, 2);
	CU_ASSERT_EQUAL(failed, 1);
	CU_ASSERT_EQUAL(p.calls, 3);
	CU_ASSERT_EQUAL(p.tried, 3);
	CU_ASSERT_EQUAL(p.total, 3);
	CU_ASSERT_EQUAL(p.failed, 1);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM later"), 2);
	CU_ASSERT_TRUE(house_says(&h, "SELECT group_concat(key) FROM weir_dead_letters", "k2"));
	CU_ASSERT_EQUAL(
	    house_ask(&h, "SELECT count(*) FROM weir_keys WHERE state = 'applied' AND rows = 1"
			  " AND reason IS NULL AND key IN ('k1', 'k3')"),
	    2);
	CU_ASSERT_TRUE(house_says(&h, "SELECT state FROM weir_keys WHERE key = 'k2'", "failed"));
	/* Again: only what is left. */
	CU_ASSERT_EQUAL(retry((struct slice){ 0 }, &done, &failed, NULL), ERR_OK);
	CU_ASSERT_EQUAL(done, 0);
	CU_ASSERT_EQUAL(failed, 1);
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM later"), 2);
	close_all();
}

static void
one_letter_is_tried_alone(void)
{
	uint64_t done, failed;

	open_fresh();
	bury_later("k1");
	bury_later("k2");
	CU_ASSERT_EQUAL(house_run(&h, "CREATE TABLE later (payload TEXT)"), ERR_OK);
	CU_ASSERT_EQUAL(retry(id_text("later", "acme", "k2"), &done, &failed, NULL), ERR_OK);
	CU_ASSERT_EQUAL(done, 1);
	CU_ASSERT_TRUE(house_says(&h, "SELECT group_concat(key) FROM weir_dead_letters", "k1"));
	CU_ASSERT_EQUAL(retry(id_text("later", "acme", "k9"), &done, &failed, NULL), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(retry(SLICE("x"), &done, &failed, NULL), ERR_INVALID);
	close_all();
}

/* A failed one and a clash with it have the same event id. */
static void
a_clash_is_never_applied_and_outlives_the_first_ones_retry(void)
{
	uint64_t done, failed;

	open_fresh();
	bury("later", "acme", "k", SLICE("first"), "no such table: later");
	bury("later", "acme", "k", SLICE("second"), "clash");
	CU_ASSERT_EQUAL(letters(), 2);
	CU_ASSERT_EQUAL(house_run(&h, "CREATE TABLE later (payload TEXT)"), ERR_OK);
	CU_ASSERT_EQUAL(retry((struct slice){ 0 }, &done, &failed, NULL), ERR_OK);
	CU_ASSERT_EQUAL(done, 1);
	CU_ASSERT_EQUAL(failed, 1);
	CU_ASSERT_TRUE(house_says(&h, "SELECT group_concat(payload) FROM later", "first"));
	CU_ASSERT_TRUE(
	    house_says(&h, "SELECT group_concat(message) FROM weir_dead_letters", "clash"));
	close_all();
}

static void
a_letter_whose_key_has_expired_can_still_be_applied(void)
{
	uint64_t done, failed;

	open_fresh();
	bury_later("k");
	CU_ASSERT_EQUAL(
	    house_run(&h, "CREATE TABLE later (payload TEXT); DELETE FROM weir_keys"), ERR_OK);
	CU_ASSERT_EQUAL(retry((struct slice){ 0 }, &done, &failed, NULL), ERR_OK);
	CU_ASSERT_EQUAL(done, 1);
	CU_ASSERT_TRUE(house_says(&h, "SELECT state FROM weir_keys", "applied"));
	close_all();
}

static void
a_letter_without_an_endpoint_or_of_another_version_stays(void)
{
	uint64_t done, failed;

	open_fresh();
	bury("elsewhere", "acme", "k", SLICE("p"), "gone");
	bury("count", "acme", "k", SLICE("p"), "a read");
	bury_later("k");
	CU_ASSERT_EQUAL(
	    house_run(&h, "UPDATE weir_dead_letters SET record = x'63' WHERE endpoint = 'later'"),
	    ERR_OK);
	CU_ASSERT_EQUAL(retry((struct slice){ 0 }, &done, &failed, NULL), ERR_OK);
	CU_ASSERT_EQUAL(done, 0);
	CU_ASSERT_EQUAL(failed, 3);
	CU_ASSERT_EQUAL(letters(), 3);
	CU_ASSERT_EQUAL(
	    dead_letters_show(&h.o.database, id_text("later", "acme", "k"), &out), ERR_OK);
	CU_ASSERT_TRUE(out_has("another version"));
	close_all();
}

static void
letters_are_dropped_one_or_all(void)
{
	uint64_t dropped;

	open_fresh();
	bury_later("k1");
	bury_later("k2");
	bury_later("k3");
	writer_close(&w);
	CU_ASSERT_EQUAL(
	    dead_letters_drop(&h.o.database, id_text("later", "acme", "k2"), &dropped), ERR_OK);
	CU_ASSERT_EQUAL(dropped, 1);
	CU_ASSERT_EQUAL(dead_letters_drop(&h.o.database, id_text("later", "acme", "k2"), &dropped),
	    ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(dead_letters_drop(&h.o.database, SLICE("-"), &dropped), ERR_INVALID);
	CU_ASSERT_EQUAL(letters(), 2);
	CU_ASSERT_EQUAL(dead_letters_drop(&h.o.database, (struct slice){ 0 }, &dropped), ERR_OK);
	CU_ASSERT_EQUAL(dropped, 2);
	CU_ASSERT_EQUAL(letters(), 0);
	/* The failure itself is remembered: the key is not free. */
	CU_ASSERT_EQUAL(house_ask(&h, "SELECT count(*) FROM weir_keys WHERE state = 'failed'"), 3);
	close_all();
}

static void
what_cannot_be_asked_is_told(void)
{
	write_house_make(&h);
	CU_ASSERT_EQUAL(unlink(h.db), 0);
	CU_ASSERT_NOT_EQUAL(dead_letters_list(&h.o.database, false, &out), ERR_OK);
	write_house_free(&h);
}

UNIT_SUITE(dead_letters, TEST(without_letters_the_list_is_empty),
    TEST(the_list_is_text_or_json_lines), TEST(one_letter_is_shown_with_its_parameters),
    TEST(nothing_that_a_client_sent_reaches_the_terminal_raw),
    TEST(what_can_be_applied_now_is_and_its_letter_goes), TEST(one_letter_is_tried_alone),
    TEST(a_clash_is_never_applied_and_outlives_the_first_ones_retry),
    TEST(a_letter_whose_key_has_expired_can_still_be_applied),
    TEST(a_letter_without_an_endpoint_or_of_another_version_stays),
    TEST(letters_are_dropped_one_or_all), TEST(what_cannot_be_asked_is_told));
