/* Goal: a downstream has one guard on the whole host, and what becomes of it is logged once. */
#include "service/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "telemetry/span.h"
#include "tests/support/unit.h"

enum { NOW_MS = 5000000, RESET_MS = 4000, LEASE_MS = 700, VOLUME = 10, CROWD = 8 };

static const struct breaker_rules rules = { .slow_ms = 100,
	.failure_pct = 50,
	.reset_ms = RESET_MS,
	.volume = VOLUME,
	.probe_lease_ms = LEASE_MS,
	.ramp_ms = 10000 };

static char log_path[4200];

static struct guards *
guards_make(void)
{
	struct guards *g =
	    mmap(NULL, guards_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (g == MAP_FAILED)
		abort();
	guards_init(g);
	(void)snprintf(log_path, sizeof log_path, "%s/guard.log", unit_dir());
	(void)unlink(log_path);
	CU_ASSERT_EQUAL_FATAL(log_open(&(struct log_options){
				  .level = LOG_LEVEL_INFO, .text = true, .file = log_path }),
	    ERR_OK);
	return g;
}

static void
guards_end(struct guards *g)
{
	CU_ASSERT_EQUAL(log_open(&(struct log_options){ .level = LOG_LEVEL_INFO }), ERR_OK);
	(void)munmap(g, guards_size());
}

static struct guard
guard_named(struct guards *g, const char *name, bool suspends)
{
	struct guard out;

	CU_ASSERT_EQUAL_FATAL(guard_open(g, name, &rules, suspends, &out), ERR_OK);
	return out;
}

/* One call that takes ${took_ms}; what guard_enter() said. */
static enum err
call(const struct guard *g, enum err result, int64_t now_ms, int64_t took_ms)
{
	struct guard_pass pass;
	const enum err rc = guard_enter(g, now_ms, &pass);

	if (rc == ERR_OK)
		guard_leave(g, &pass, result, now_ms + took_ms);
	return rc;
}

static void
calls(const struct guard *g, enum err result, unsigned n, int64_t now_ms)
{
	for (unsigned i = 0; i < n; i++)
		(void)call(g, result, now_ms, 0);
}

static struct guard_view
view_of(const struct guards *g, const char *name)
{
	struct guard_view all[GUARDS_MAX];
	const size_t n = guards_look(g, NOW_MS, all);

	for (size_t i = 0; i < n; i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i];
	CU_FAIL_FATAL("no such row");
	return all[0];
}

/* How many log lines have both texts. */
static unsigned
logged(const char *a, const char *b)
{
	FILE *f = fopen(log_path, "r");
	char line[4096];
	unsigned n = 0;

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		n += strstr(line, "breaker") != NULL && strstr(line, a) != NULL &&
		     strstr(line, b) != NULL;
	if (f != NULL)
		(void)fclose(f);
	return n;
}

/*
 * Rows.
 */
static void
a_name_is_one_row_for_all_who_open_it(void)
{
	struct guards *g = guards_make();
	const struct guard a = guard_named(g, "redis-1", true), b = guard_named(g, "redis-1", true);
	const struct guard c = guard_named(g, "redis-2", true);

	CU_ASSERT_PTR_EQUAL(a.breaker, b.breaker);
	CU_ASSERT_PTR_NOT_EQUAL(a.breaker, c.breaker);
	CU_ASSERT_EQUAL(call(&a, ERR_TIMEOUT, NOW_MS, 20), ERR_OK);
	CU_ASSERT_EQUAL(call(&b, ERR_OK, NOW_MS, 0), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(call(&c, ERR_OK, NOW_MS, 0), ERR_OK);
	guards_end(g);
}

static void
names_that_do_not_fit_and_rows_that_are_not_there_are_said(void)
{
	struct guards *g = guards_make();
	struct guard out;
	char name[GUARD_NAME_BYTES];

	CU_ASSERT_EQUAL(
	    guard_open(g, "a-name-of-twenty-four-by", &rules, false, &out), ERR_TOO_LARGE);
	for (unsigned i = 0; i < GUARDS_MAX; i++) {
		(void)snprintf(name, sizeof name, "a-name-that-just-fits%02u", i % 100);
		CU_ASSERT_EQUAL(guard_open(g, name, &rules, false, &out), ERR_OK);
	}
	CU_ASSERT_EQUAL(guard_open(g, "one-more", &rules, false, &out), ERR_FULL);
	CU_ASSERT_EQUAL(guard_open(g, "a-name-that-just-fits07", &rules, false, &out), ERR_OK);
	CU_ASSERT_STRING_EQUAL(
	    view_of(g, "a-name-that-just-fits63").name, "a-name-that-just-fits63");
	guards_end(g);
}

/* As the other processes of a host: each opens all names, in its own order, and makes one call through each. */
static void
open_all(struct guards *g, unsigned index)
{
	struct guard out;
	char name[GUARD_NAME_BYTES];

	for (unsigned i = 0; i < 32; i++) {
		(void)snprintf(name, sizeof name, "downstream-%u", (i * 7 + index * 5) % 32);
		if (guard_open(g, name, &rules, false, &out) != ERR_OK ||
		    call(&out, ERR_OK, NOW_MS, 0) != ERR_OK)
			_exit(1);
	}
	_exit(0);
}

static void
processes_that_claim_the_same_names_at_once_meet_in_the_same_rows(void)
{
	struct guards *g = guards_make();
	struct guard_view all[GUARDS_MAX];
	pid_t pids[CROWD];
	int status;

	for (unsigned i = 0; i < CROWD; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			open_all(g, i);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		status = -1;
		CU_ASSERT_EQUAL(waitpid(pids[i], &status, 0), pids[i]);
		CU_ASSERT_EQUAL(status, 0);
	}
	CU_ASSERT_EQUAL_FATAL(guards_look(g, NOW_MS, all), 32);
	for (unsigned i = 0; i < 32; i++)
		CU_ASSERT_EQUAL(all[i].breaker.calls, CROWD);
	guards_end(g);
}

/* A killed claimer: its row is taken, its name not yet written. */
static void
a_row_whose_claimer_died_is_not_shown_and_is_found_by_the_next(void)
{
	struct guards *g = guards_make(), *half = guards_make();
	struct guard_view all[GUARDS_MAX];

	(void)guard_named(g, "kafka", false);
	memcpy(half, g, sizeof(uint64_t)); /* the first word of a row is what claims it */
	CU_ASSERT_EQUAL(guards_look(half, NOW_MS, all), 0);
	CU_ASSERT_EQUAL(guards_force(half, "kafka", BREAKER_FORCED_OPEN, NOW_MS), ERR_OK);
	(void)guard_named(half, "primary", false);
	(void)guard_named(half, "kafka", false);
	CU_ASSERT_EQUAL(guards_look(half, NOW_MS, all), 2);
	CU_ASSERT_STRING_EQUAL(all[0].name, "kafka");
	CU_ASSERT_EQUAL(all[0].breaker.force, BREAKER_FORCED_OPEN);
	(void)munmap(half, guards_size());
	guards_end(g);
}

/*
 * Calls.
 */
static void
failures_of_the_downstream_count_and_its_answers_do_not(void)
{
	static const enum err answers[] = { ERR_OK, ERR_NOT_FOUND, ERR_CONFLICT, ERR_INVALID,
		ERR_LIMITED };
	static const enum err failures[] = { ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_IO };
	struct guards *g = guards_make();
	const struct guard a = guard_named(g, "read-1", false);

	for (size_t i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(call(&a, answers[i], NOW_MS, 100), ERR_OK);
	CU_ASSERT_EQUAL(view_of(g, "read-1").breaker.failures, 0);
	for (size_t i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(call(&a, failures[i], NOW_MS, 100), ERR_OK);
	CU_ASSERT_EQUAL(view_of(g, "read-1").breaker.failures, 3);
	CU_ASSERT_EQUAL(view_of(g, "read-1").breaker.slow, 0);
	CU_ASSERT_EQUAL(call(&a, ERR_OK, NOW_MS - 101, 101), ERR_OK);
	CU_ASSERT_EQUAL(view_of(g, "read-1").breaker.failures, 4);
	CU_ASSERT_EQUAL(view_of(g, "read-1").breaker.slow, 1);
	CU_ASSERT_EQUAL(view_of(g, "read-1").breaker.calls, 9);
	guards_end(g);
}

static void
a_missed_deadline_suspends_only_who_asked_for_that(void)
{
	struct guards *g = guards_make();
	const struct guard read = guard_named(g, "read-1", false);
	const struct guard redis = guard_named(g, "redis-1", true);

	CU_ASSERT_EQUAL(call(&read, ERR_TIMEOUT, NOW_MS, 20), ERR_OK);
	CU_ASSERT_EQUAL(call(&redis, ERR_TIMEOUT, NOW_MS, 20), ERR_OK);
	CU_ASSERT_TRUE(guard_is_up(&read));
	CU_ASSERT_FALSE(guard_is_up(&redis));
	CU_ASSERT_EQUAL(call(&redis, ERR_OK, NOW_MS + 1000000, 0), ERR_UNAVAILABLE);
	guards_end(g);
}

static void
a_suspended_one_is_back_when_a_probe_outside_of_requests_has_answered(void)
{
	struct guards *g = guards_make();
	const struct guard redis = guard_named(g, "redis-1", true);
	struct guard_pass pass, other;

	CU_ASSERT_EQUAL(guard_probe(&redis, NOW_MS, &pass), ERR_UNAVAILABLE); /* nothing is wrong */
	(void)call(&redis, ERR_TIMEOUT, NOW_MS, 20);
	CU_ASSERT_EQUAL(guard_probe(&redis, NOW_MS + 20, &pass), ERR_OK);
	CU_ASSERT_TRUE(pass.probe);
	CU_ASSERT_EQUAL(guard_probe(&redis, NOW_MS + 20, &other), ERR_UNAVAILABLE);
	guard_leave(&redis, &pass, ERR_TIMEOUT, NOW_MS + 40);
	CU_ASSERT_FALSE(guard_is_up(&redis));
	CU_ASSERT_EQUAL(guard_probe(&redis, NOW_MS + 40, &other), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(guard_probe(&redis, NOW_MS + 40 + BREAKER_PAUSE_MS, &pass), ERR_OK);
	guard_leave(&redis, &pass, ERR_OK, NOW_MS + 41 + BREAKER_PAUSE_MS);
	CU_ASSERT_TRUE(guard_is_up(&redis));
	guards_end(g);
}

static void
a_request_is_the_probe_only_where_nobody_probes_outside(void)
{
	struct guards *g = guards_make();
	const struct guard read = guard_named(g, "read-1", false);
	const struct guard redis = guard_named(g, "redis-1", true);
	struct guard_pass pass;

	calls(&read, ERR_IO, VOLUME, NOW_MS);
	calls(&redis, ERR_IO, VOLUME, NOW_MS);
	CU_ASSERT_EQUAL(guard_enter(&read, NOW_MS + RESET_MS - 1, &pass), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(guard_enter(&redis, NOW_MS + RESET_MS, &pass), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(guard_probe(&redis, NOW_MS + RESET_MS, &pass), ERR_OK);
	guard_leave(&redis, &pass, ERR_OK, NOW_MS + RESET_MS);
	CU_ASSERT_TRUE(guard_is_up(&redis));
	CU_ASSERT_EQUAL(guard_enter(&read, NOW_MS + RESET_MS, &pass), ERR_OK);
	CU_ASSERT_TRUE(pass.probe);
	guard_leave(&read, &pass, ERR_NOT_FOUND, NOW_MS + RESET_MS); /* which is an answer */
	CU_ASSERT_TRUE(guard_is_up(&read));
	guards_end(g);
}

static void
a_call_that_was_not_made_says_nothing(void)
{
	struct guards *g = guards_make();
	const struct guard read = guard_named(g, "read-1", false);
	struct guard_pass pass;

	calls(&read, ERR_IO, VOLUME, NOW_MS);
	CU_ASSERT_EQUAL(guard_enter(&read, NOW_MS + RESET_MS, &pass), ERR_OK);
	guard_withdraw(&read, &pass, NOW_MS + RESET_MS + 1);
	CU_ASSERT_FALSE(guard_is_up(&read));
	CU_ASSERT_EQUAL(guard_enter(&read, NOW_MS + RESET_MS + 1, &pass), ERR_OK);
	CU_ASSERT_TRUE(pass.probe);
	guards_end(g);
}

static void
on_the_ramp_a_share_of_the_requests_goes_the_way_of_an_open_breaker(void)
{
	struct guards *g = guards_make();
	const struct guard read = guard_named(g, "read-1", true);
	const int64_t closed_ms = NOW_MS + RESET_MS;
	struct guard_pass pass;
	unsigned early = 0, late = 0;

	calls(&read, ERR_IO, VOLUME, NOW_MS);
	CU_ASSERT_FALSE(guard_admits(&read, closed_ms));
	CU_ASSERT_EQUAL(guard_probe(&read, closed_ms, &pass), ERR_OK);
	guard_leave(&read, &pass, ERR_OK, closed_ms);
	for (int i = 0; i < 10000; i++) {
		early += guard_admits(&read, closed_ms);
		late += guard_admits(&read, closed_ms + 5000);
	}
	/* 10 % and 55 %; the bounds are six deviations away. */
	CU_ASSERT_TRUE(early > 820 && early < 1180);
	CU_ASSERT_TRUE(late > 5200 && late < 5800);
	CU_ASSERT_TRUE(guard_is_up(&read));
	CU_ASSERT_EQUAL(guard_enter(&read, closed_ms, &pass), ERR_OK); /* who comes one by one */
	CU_ASSERT_TRUE(guard_admits(&read, closed_ms + 10000));
	guards_end(g);
}

static void
a_change_of_state_is_an_event_of_the_request_that_made_it(void)
{
	struct guards *g = guards_make();
	const struct guard redis = guard_named(g, "redis-1", true);
	struct span_recorder r = { 0 };
	struct arena a;

	arena_init(&a, 65536);
	r.arena = &a;
	(void)span_record(&r);
	(void)call(&redis, ERR_OK, NOW_MS, 0);
	CU_ASSERT_PTR_NULL(r.events);
	(void)call(&redis, ERR_TIMEOUT, NOW_MS, 20);
	(void)span_record(NULL);
	CU_ASSERT_EQUAL(r.event_count, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r.events);
	CU_ASSERT_STRING_EQUAL(r.events->name, "breaker");
	CU_ASSERT_PTR_NOT_NULL_FATAL(r.events->attrs);
	CU_ASSERT_EQUAL(r.events->attrs->key, SPAN_KEY_WEIR_BREAKER_NAME);
	CU_ASSERT_TRUE(slice_eq_cstr(r.events->attrs->text, "redis-1"));
	arena_free(&a);
	guards_end(g);
}

/*
 * The log.
 */
static void
many_failing_processes_log_one_line_with_its_figures(void)
{
	struct guards *g = guards_make();
	const struct guard read = guard_named(g, "read-1", false);
	pid_t pids[CROWD];

	for (unsigned i = 0; i < CROWD; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			calls(&read, ERR_IO, 1000, NOW_MS);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < CROWD; i++)
		(void)waitpid(pids[i], NULL, 0);
	CU_ASSERT_EQUAL(logged("read-1", ""), 1);
	CU_ASSERT_EQUAL(logged("from=closed", "to=open"), 1);
	CU_ASSERT_EQUAL(logged("slow=0", "failures="), 1);
	CU_ASSERT_EQUAL(logged("from=closed to=open", "failure_pct=100"), 1);
	guards_end(g);
}

static void
each_change_of_state_is_one_line(void)
{
	struct guards *g = guards_make();
	const struct guard redis = guard_named(g, "redis-1", true);
	struct guard_pass pass;
	int64_t now_ms = NOW_MS;

	for (int i = 0; i < 10; i++)
		(void)call(&redis, ERR_TIMEOUT, NOW_MS, 20);
	CU_ASSERT_EQUAL(logged("from=closed to=suspended", "calls=1 failures=1 slow=0"), 1);
	for (int i = 0; i < 10; i++) { /* probes that fail are no news */
		CU_ASSERT_EQUAL(guard_probe(&redis, now_ms + 20, &pass), ERR_OK);
		guard_leave(&redis, &pass, ERR_TIMEOUT, now_ms + 40);
		now_ms += 40 + BREAKER_PAUSE_MS;
	}
	CU_ASSERT_EQUAL(logged("", ""), 1);
	CU_ASSERT_EQUAL(guard_probe(&redis, now_ms, &pass), ERR_OK);
	guard_leave(&redis, &pass, ERR_OK, now_ms);
	CU_ASSERT_EQUAL(logged("from=suspended to=closed", "redis-1"), 1);
	CU_ASSERT_EQUAL(logged("", ""), 2);
	guards_end(g);
}

static void
an_order_is_obeyed_and_logged_once_and_an_unknown_name_is_said(void)
{
	struct guards *g = guards_make();
	const struct guard kafka = guard_named(g, "kafka", false);

	CU_ASSERT_EQUAL(guards_force(g, "kafkaa", BREAKER_FORCED_OPEN, NOW_MS), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(guards_force(g, "kafka", BREAKER_FORCED_OPEN, NOW_MS), ERR_OK);
	CU_ASSERT_EQUAL(guards_force(g, "kafka", BREAKER_FORCED_OPEN, NOW_MS), ERR_OK);
	CU_ASSERT_EQUAL(call(&kafka, ERR_OK, NOW_MS, 0), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(logged("from=closed to=forced-open", "kafka"), 1);
	CU_ASSERT_EQUAL(guards_force(g, "kafka", BREAKER_AUTO, NOW_MS), ERR_OK);
	CU_ASSERT_EQUAL(call(&kafka, ERR_OK, NOW_MS, 0), ERR_OK);
	CU_ASSERT_EQUAL(logged("from=forced-open to=closed", "kafka"), 1);
	guards_end(g);
}

UNIT_SUITE(guard, TEST(a_name_is_one_row_for_all_who_open_it),
    TEST(names_that_do_not_fit_and_rows_that_are_not_there_are_said),
    TEST(processes_that_claim_the_same_names_at_once_meet_in_the_same_rows),
    TEST(a_row_whose_claimer_died_is_not_shown_and_is_found_by_the_next),
    TEST(failures_of_the_downstream_count_and_its_answers_do_not),
    TEST(a_missed_deadline_suspends_only_who_asked_for_that),
    TEST(a_suspended_one_is_back_when_a_probe_outside_of_requests_has_answered),
    TEST(a_request_is_the_probe_only_where_nobody_probes_outside),
    TEST(a_call_that_was_not_made_says_nothing),
    TEST(on_the_ramp_a_share_of_the_requests_goes_the_way_of_an_open_breaker),
    TEST(a_change_of_state_is_an_event_of_the_request_that_made_it),
    TEST(many_failing_processes_log_one_line_with_its_figures),
    TEST(each_change_of_state_is_one_line),
    TEST(an_order_is_obeyed_and_logged_once_and_an_unknown_name_is_said));
