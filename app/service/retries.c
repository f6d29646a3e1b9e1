/*
 * Calls that are made a second time.
 */
#include "service/retries.h"

#include <time.h>

#include "base/clock.h"
#include "base/rand.h"
#include "policy/backoff.h"
#include "policy/retry_budget.h"
#include "telemetry/scoreboard.h"

enum { PAUSE_MAX_MS = 100 };

static const struct retry_rules rules = { .pct = RETRIES_PCT, .floor = RETRIES_FLOOR };

size_t
retries_size(void)
{
	return RETRY__COUNT * retry_budget_size();
}

struct retry_budget *
retries_budget(void *mem, enum retry_kind kind)
{
	return (struct retry_budget *)((char *)mem + kind * retry_budget_size());
}

void
retries_init(void *mem)
{
	for (int kind = 0; kind < RETRY__COUNT; kind++)
		retry_budget_init(retries_budget(mem, (enum retry_kind)kind));
}

const char *const retry_kind_names[RETRY__COUNT] = {
	[RETRY_DATABASE] = "database",
	[RETRY_REDIS] = "redis",
};

uint64_t
retries_look(void *mem, enum retry_kind kind, int64_t now_ms, struct retry_view *out)
{
	retry_budget_look(retries_budget(mem, kind), now_ms, out);
	return retry_budget_limit(out, &rules);
}

static void
count(const struct retries *r, enum metric m)
{
	if (r->scoreboard != NULL)
		scoreboard_count(r->scoreboard, r->member, m, 1);
}

void
retries_call(const struct retries *r, int64_t now_ms)
{
	if (r->budget != NULL)
		retry_budget_call(r->budget, now_ms);
}

bool
retries_again(const struct retries *r, uint32_t failures, uint32_t base_ms, int64_t deadline_ms)
{
	const int64_t now_ms = clock_mono_ms();
	const uint32_t pause_ms =
	    backoff_next_ms(failures, base_ms, PAUSE_MAX_MS, (uint32_t)rand_u64());

	if (now_ms + pause_ms >= deadline_ms)
		return false;
	if (r->budget != NULL && !retry_budget_take(r->budget, &rules, now_ms)) {
		count(r, METRIC_RETRIES_REFUSED);
		return false;
	}
	count(r, METRIC_RETRIES);
	(void)nanosleep(&(struct timespec){ .tv_nsec = pause_ms * 1000000L }, NULL);
	return true;
}
