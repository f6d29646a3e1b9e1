/*
 * Goal: a key is asked about as seldom as may be and a revoked one ends within a second; a database that
 * is away locks out nobody who was good; who guesses is stopped before anything is looked up.
 */
#include "service/tenant.h"

#include <stdlib.h>

#include "base/log.h"
#include "policy/limiter.h"
#include "tests/support/unit.h"
#include "tests/unit/service/key_house.h"

enum { SLOTS = 1024 };

static struct tenants t;
static struct tenant_check c;
static int64_t now_ms;
static char log_path[4300];

static void *
region(size_t bytes)
{
	void *mem = aligned_alloc(64, (bytes + 63) / 64 * 64);

	CU_ASSERT_PTR_NOT_NULL_FATAL(mem);
	return memset(mem, 0, bytes);
}

static void
open_all(void)
{
	const struct log_options o = { .level = LOG_LEVEL_INFO, .file = log_path };

	(void)snprintf(log_path, sizeof log_path, "%s/tenant.log", unit_dir());
	(void)remove(log_path);
	CU_ASSERT_EQUAL_FATAL(log_open(&o), ERR_OK);
	t = (struct tenants){ .shared = region(tenant_shared_size()),
		.limiter = region(limiter_size(SLOTS)),
		.seed = 7,
		.ledger = key_house_make("acme") };
	CU_ASSERT_PTR_NOT_NULL_FATAL(t.ledger);
	tenant_shared_init(t.shared, 11);
	limiter_init(t.limiter, SLOTS);
	now_ms = 1000000;
}

static void
close_all(void)
{
	ledger_close(&t.ledger);
	free(t.shared);
	free(t.limiter);
	CU_ASSERT_EQUAL(log_open(&(struct log_options){ .level = LOG_LEVEL_ERROR }), ERR_OK);
}

static unsigned
log_lines(const char *event)
{
	FILE *f = fopen(log_path, "r");
	char line[1000];
	unsigned n = 0;

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		n += strstr(line, event) != NULL;
	if (f != NULL)
		(void)fclose(f);
	return n;
}

static enum tenant_verdict
look_from(const char *ip, const char *key)
{
	return tenant_look(
	    &t, (struct slice){ NULL, 0 }, slice_of(key), slice_of(ip), now_ms * 1000000, &c);
}

static enum tenant_verdict
look(const char *key)
{
	return look_from("192.0.2.1", key);
}

static enum tenant_verdict
ask(void)
{
	return tenant_ask(&t, now_ms * 1000000, now_ms + 5000, &c);
}

/* As the pipeline does it. */
static enum tenant_verdict
come_from(const char *ip, const char *key)
{
	const enum tenant_verdict v = look_from(ip, key);
	struct tenant_check seen;

	if (v == TENANT_ASK)
		return ask();
	seen = c;
	if (v == TENANT_KNOWN && c.again)
		(void)ask();
	c = seen;
	c.tenant.ptr = c.bytes;
	return v;
}

static enum tenant_verdict
come(const char *key)
{
	return come_from("192.0.2.1", key);
}

static const char *
invented(void)
{
	static char key[API_KEY_TEXT], id[API_KEY_ID_TEXT];

	api_key_make(key, id);
	return key;
}

static void
without_a_key_nobody_is_asked(void)
{
	open_all();
	CU_ASSERT_EQUAL(look(NULL), TENANT_NO_KEY);
	CU_ASSERT_EQUAL(key_house.asked, 0);
	close_all();
}

static void
a_good_key_is_its_tenants_and_remembered(void)
{
	open_all();
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_ASK);
	CU_ASSERT_EQUAL(ask(), TENANT_KNOWN);
	CU_ASSERT_TRUE(slice_eq_cstr(c.tenant, "acme"));
	now_ms += 499;
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_KNOWN);
	CU_ASSERT_TRUE(slice_eq_cstr(c.tenant, "acme"));
	CU_ASSERT_EQUAL(key_house.asked, 1);
	close_all();
}

static void
a_question_ends_within_a_second(void)
{
	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	CU_ASSERT_EQUAL(key_house.deadline_ms, now_ms + 1000);
	now_ms += 2000;
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_ASK);
	CU_ASSERT_EQUAL(tenant_ask(&t, now_ms * 1000000, now_ms + 300, &c), TENANT_KNOWN);
	CU_ASSERT_EQUAL(key_house.deadline_ms, now_ms + 300);
	close_all();
}

static void
half_way_one_asks_again_behind_its_reply_and_nobody_waits(void)
{
	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	now_ms += 500;
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_KNOWN);
	CU_ASSERT_TRUE(c.again);
	CU_ASSERT_EQUAL(ask(), TENANT_KNOWN);
	CU_ASSERT_EQUAL(key_house.asked, 2);
	CU_ASSERT_EQUAL(key_house.deadline_ms, now_ms + 400); /* before anybody must wait for it */
	now_ms += 499;
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_KNOWN);
	CU_ASSERT_FALSE(c.again);
	close_all();
}

static void
he_who_asks_again_may_be_killed(void)
{
	unsigned again = 0;

	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	now_ms += 500;
	for (int i = 0; i < 10; i++) {
		CU_ASSERT_EQUAL(look(key_house.key), TENANT_KNOWN);
		again += c.again; /* and is not heard of any more */
		now_ms += 40;
	}
	CU_ASSERT_EQUAL(again, 1);
	now_ms += 100;
	CU_ASSERT_EQUAL(
	    look(key_house.key), TENANT_ASK); /* now it must be asked about in any case */
	CU_ASSERT_EQUAL(ask(), TENANT_KNOWN);
	close_all();
}

/* Asked again at 500 ms, the stall is known at 900 ms, and from then on memory counts. */
static void
a_stall_is_known_before_a_key_in_use_must_be_waited_for(void)
{
	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	key_house.fails = ERR_TIMEOUT;
	for (int i = 0; i < 100; i++) {
		now_ms += 50;
		CU_ASSERT_EQUAL(look(key_house.key), TENANT_KNOWN);
		if (c.again)
			(void)ask();
	}
	CU_ASSERT_EQUAL(log_lines("api_keys_unasked"), 1);
	close_all();
}

static void
of_many_who_waited_for_a_lane_one_asks(void)
{
	struct tenant_check waiting;

	open_all();
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_ASK);
	waiting = c;
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_ASK);
	CU_ASSERT_EQUAL(ask(), TENANT_KNOWN);
	c = waiting;
	now_ms += 20;
	CU_ASSERT_EQUAL(ask(), TENANT_KNOWN);
	CU_ASSERT_TRUE(slice_eq_cstr(c.tenant, "acme"));
	CU_ASSERT_FALSE(c.looked_up);
	CU_ASSERT_EQUAL(key_house.asked, 1);
	close_all();
}

static void
a_revoked_key_ends_within_a_second(void)
{
	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	key_house.revoked = true;
	now_ms += 999;
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_KNOWN); /* nobody has asked */
	now_ms += 1;
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_ASK);
	CU_ASSERT_EQUAL(ask(), TENANT_REFUSED);
	CU_ASSERT_PTR_NOT_NULL(strstr(c.why, "revoked"));
	now_ms += 100;
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_REFUSED);
	close_all();
}

static void
revoke_now(void *ctx)
{
	(void)ctx;
	key_house.revoked = true;
	now_ms += 5000; /* the answer is long on its way */
	key_house.fails = ERR_OK;
}

/* The answer counts from when it was asked for, so that one that was slow is not trusted longer. */
static void
a_slow_answer_is_old_when_it_comes(void)
{
	open_all();
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_ASK);
	key_house.meanwhile = revoke_now;
	key_house.fails = ERR_OK;
	(void)ask();
	key_house.meanwhile = NULL;
	CU_ASSERT_NOT_EQUAL(look(key_house.key), TENANT_KNOWN);
	close_all();
}

static void
an_unknown_key_is_refused_and_remembered_for_ten_seconds(void)
{
	char key[API_KEY_TEXT];

	open_all();
	(void)strcpy(key, invented());
	CU_ASSERT_EQUAL(come(key), TENANT_REFUSED);
	CU_ASSERT_EQUAL(key_house.asked, 1);
	now_ms += 9999;
	CU_ASSERT_EQUAL(come(key), TENANT_REFUSED);
	CU_ASSERT_EQUAL(key_house.asked, 1);
	now_ms += 1;
	CU_ASSERT_EQUAL(come(key), TENANT_REFUSED);
	CU_ASSERT_EQUAL(key_house.asked, 2);
	close_all();
}

static void
the_id_of_a_good_key_with_another_secret_is_refused(void)
{
	char key[API_KEY_TEXT];

	open_all();
	(void)strcpy(key, key_house.key);
	key[API_KEY_TEXT - 2] = key[API_KEY_TEXT - 2] == '0' ? '1' : '0';
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	CU_ASSERT_EQUAL(come(key), TENANT_REFUSED);
	CU_ASSERT_EQUAL(key_house.asked, 2);
	close_all();
}

static void
what_is_no_key_never_reaches_the_database(void)
{
	open_all();
	CU_ASSERT_EQUAL(come("weir_"), TENANT_REFUSED);
	CU_ASSERT_EQUAL(come("' OR 1=1 --"), TENANT_REFUSED);
	CU_ASSERT_EQUAL(key_house.asked, 0);
	close_all();
}

static void
after_a_burst_of_failures_nothing_is_looked_up(void)
{
	unsigned refused = 0, limited = 0, asked;

	open_all();
	for (int i = 0; i < 20; i++)
		refused += come(invented()) == TENANT_REFUSED;
	asked = key_house.asked;
	for (int i = 0; i < 20; i++)
		limited += come(invented()) == TENANT_LIMITED && c.retry_after_s == 1;
	limited += come("no key at all") == TENANT_LIMITED;
	CU_ASSERT_EQUAL(refused, 20);
	CU_ASSERT_EQUAL(limited, 21);
	CU_ASSERT_EQUAL(key_house.asked, asked);
	CU_ASSERT_EQUAL(come_from("192.0.2.2", invented()), TENANT_REFUSED); /* another address */
	now_ms += 100;							     /* ten a second */
	CU_ASSERT_EQUAL(come(invented()), TENANT_REFUSED);
	CU_ASSERT_EQUAL(come(invented()), TENANT_LIMITED);
	close_all();
}

static void
a_remembered_refusal_counts_as_a_failure(void)
{
	char key[API_KEY_TEXT];

	open_all();
	(void)strcpy(key, invented());
	for (int i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(come(key), TENANT_REFUSED);
	CU_ASSERT_EQUAL(come(key), TENANT_LIMITED);
	CU_ASSERT_EQUAL(key_house.asked, 1);
	close_all();
}

static void
who_guesses_does_not_lock_out_a_good_key_behind_the_same_address(void)
{
	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	while (come(invented()) != TENANT_LIMITED)
		;
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	for (int i = 0; i < 50; i++) { /* also when it must be asked about again */
		now_ms += 1500;
		while (come(invented()) != TENANT_LIMITED)
			;
		CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	}
	close_all();
}

static void
those_who_wait_for_a_lane_are_stopped_there(void)
{
	struct tenant_check waiting;

	open_all();
	CU_ASSERT_EQUAL(look(invented()), TENANT_ASK);
	waiting = c;
	while (come(invented()) != TENANT_LIMITED)
		;
	key_house.asked = 0;
	c = waiting;
	CU_ASSERT_EQUAL(ask(), TENANT_LIMITED);
	CU_ASSERT_EQUAL(key_house.asked, 0);
	close_all();
}

static void
good_keys_cost_no_failures(void)
{
	open_all();
	for (int i = 0; i < 200; i++) {
		now_ms += 1;
		key_house.asked = 0;
		CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	}
	CU_ASSERT_EQUAL(come(invented()), TENANT_REFUSED);
	close_all();
}

static void
without_a_database_a_good_key_stays_good_for_a_bounded_time(void)
{
	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	key_house.fails = ERR_TIMEOUT;
	for (int i = 0; i < 14 * 60; i++) {
		now_ms += 1000;
		CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	}
	CU_ASSERT_EQUAL(log_lines("api_keys_unasked"), 1);
	now_ms += 60000;
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_UNASKED);
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_UNASKED);
	key_house.fails = ERR_OK;
	now_ms += 1000;
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	CU_ASSERT_EQUAL(log_lines("api_keys_asked_again"), 1);
	close_all();
}

static void
without_a_database_one_request_a_second_tries_again(void)
{
	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	key_house.fails = ERR_UNAVAILABLE;
	now_ms += 2000;
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	key_house.asked = 0;
	for (int i = 0; i < 999; i++) {
		now_ms += 1;
		CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	}
	CU_ASSERT_EQUAL(key_house.asked, 0);
	now_ms += 1;
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_KNOWN);
	CU_ASSERT_TRUE(c.again); /* he may be killed, or stopped */
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_KNOWN);
	CU_ASSERT_FALSE(c.again);
	now_ms += 1000;
	CU_ASSERT_EQUAL(look(key_house.key), TENANT_KNOWN);
	CU_ASSERT_TRUE(c.again);
	close_all();
}

static void
without_a_database_a_stranger_is_not_judged_and_not_charged(void)
{
	unsigned unasked = 0;

	open_all();
	key_house.fails = ERR_UNAVAILABLE;
	for (int i = 0; i < 100; i++)
		unasked += come(invented()) == TENANT_UNASKED;
	CU_ASSERT_EQUAL(unasked, 100);
	CU_ASSERT_EQUAL(key_house.asked, 1);
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_UNASKED);
	key_house.fails = ERR_OK;
	now_ms += 1000;
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	CU_ASSERT_EQUAL(come(invented()), TENANT_REFUSED);
	CU_ASSERT_EQUAL(log_lines("api_keys_unasked"), 1);
	close_all();
}

static void
a_key_that_was_revoked_before_the_database_went_away_stays_so(void)
{
	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	key_house.revoked = true;
	now_ms += 1000;
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_REFUSED);
	key_house.fails = ERR_UNAVAILABLE;
	for (int i = 0; i < 60; i++) {
		now_ms += 1000;
		CU_ASSERT_NOT_EQUAL(come(key_house.key), TENANT_KNOWN);
	}
	close_all();
}

/* A segment in a file may outlive a restart of the machine, whose clock then begins again. */
static void
an_answer_from_before_a_restart_is_not_trusted(void)
{
	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	key_house.revoked = true;
	now_ms = 5000;
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_REFUSED);
	close_all();
}

static void
no_secret_is_ever_logged(void)
{
	open_all();
	CU_ASSERT_EQUAL(come(key_house.key), TENANT_KNOWN);
	key_house.fails = ERR_UNAVAILABLE;
	now_ms += 1000;
	(void)come(key_house.key);
	CU_ASSERT_EQUAL(log_lines("api_keys_unasked"), 1);
	CU_ASSERT_EQUAL(log_lines(strrchr(key_house.key, '_') + 1), 0);
	close_all();
}

UNIT_SUITE(tenant, TEST(without_a_key_nobody_is_asked),
    TEST(a_good_key_is_its_tenants_and_remembered), TEST(a_question_ends_within_a_second),
    TEST(half_way_one_asks_again_behind_its_reply_and_nobody_waits),
    TEST(he_who_asks_again_may_be_killed),
    TEST(a_stall_is_known_before_a_key_in_use_must_be_waited_for),
    TEST(of_many_who_waited_for_a_lane_one_asks), TEST(a_revoked_key_ends_within_a_second),
    TEST(a_slow_answer_is_old_when_it_comes),
    TEST(an_unknown_key_is_refused_and_remembered_for_ten_seconds),
    TEST(the_id_of_a_good_key_with_another_secret_is_refused),
    TEST(what_is_no_key_never_reaches_the_database),
    TEST(after_a_burst_of_failures_nothing_is_looked_up),
    TEST(a_remembered_refusal_counts_as_a_failure),
    TEST(who_guesses_does_not_lock_out_a_good_key_behind_the_same_address),
    TEST(those_who_wait_for_a_lane_are_stopped_there), TEST(good_keys_cost_no_failures),
    TEST(without_a_database_a_good_key_stays_good_for_a_bounded_time),
    TEST(without_a_database_one_request_a_second_tries_again),
    TEST(without_a_database_a_stranger_is_not_judged_and_not_charged),
    TEST(a_key_that_was_revoked_before_the_database_went_away_stays_so),
    TEST(an_answer_from_before_a_restart_is_not_trusted), TEST(no_secret_is_ever_logged));
