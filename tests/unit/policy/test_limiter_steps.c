/*
 * Goal: wherever in a limiter_take() a process is killed or stopped, no token is added, at most its own
 * is lost, and nobody is held up.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "policy/limiter.h"
#include "tests/support/unit.h"
#include "tests/unit/policy/step.h"

enum { BURST = 5, TAKES = 2, SLOTS = 1024, LOOKS = 1000, STEPS = 100000 };

static const uint64_t client = 4711;
static const int64_t now = 5000 * (int64_t)1000000000;
static const struct limiter_rule bucket = {
	.seed = 1, .quota = 5, .window_ns = 3600000000000, .burst = BURST
};
static const struct limiter_rule window = {
	.seed = 2, .quota = BURST, .window_ns = 3600000000000, .sliding = true
};

/* A process that takes, and what it has got so far. */
struct walk {
	const struct limiter_rule *rule;
	struct limiter *limiter;
	volatile unsigned granted;
	volatile bool gives_back;
};

static void *
share(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static struct walk *
walk_of(const struct limiter_rule *r)
{
	struct walk *w = share(sizeof *w);

	w->rule = r;
	w->limiter = share(limiter_size(SLOTS));
	limiter_init(w->limiter, SLOTS);
	return w;
}

static void
walk_end(struct walk *w)
{
	(void)munmap(w->limiter, limiter_size(SLOTS));
	(void)munmap(w, sizeof *w);
}

static unsigned
drain(struct limiter *l, const struct limiter_rule *r)
{
	struct limiter_state s;
	unsigned n = 0;

	while (limiter_take(l, r, client, now, &s) == ERR_OK)
		n++;
	return n;
}

static void
take_in_steps(void *arg)
{
	struct walk *w = arg;
	struct limiter_state s;

	for (int i = 0; i < TAKES; i++)
		if (limiter_take(w->limiter, w->rule, client, now, &s) == ERR_OK)
			w->granted++;
	w->gives_back = true;
	limiter_give_back(w->limiter, w->rule, client, now, &s);
}

/* What others find when the walker goes no further: all but what it took, and perhaps one it was at. */
static bool
others_get_the_rest(const struct walk *w, struct limiter *copy)
{
	const unsigned rest = BURST - w->granted;
	unsigned got;

	memcpy(copy, w->limiter, limiter_size(SLOTS));
	got = drain(copy, w->rule);
	return w->gives_back ? got == rest || got == rest + 1 : got == rest || got + 1 == rest;
}

/* A sanitizer makes a walk many times longer, and a look or a stop costs much. */
static unsigned
stride_of(unsigned count, unsigned stops)
{
	return count / stops + 1;
}

static unsigned
walk_length(void)
{
	struct walk *w = walk_of(&bucket);
	const unsigned count = step_count(take_in_steps, w);

	walk_end(w);
	return count;
}

static void
killed_at_any_instruction_a_taker_adds_no_token(void)
{
	const struct limiter_rule *const rules[] = { &bucket, &window };
	struct limiter *copy = share(limiter_size(SLOTS));
	const unsigned stride = stride_of(walk_length(), LOOKS);

	for (size_t i = 0; i < 2; i++) {
		struct walk *w = walk_of(rules[i]);
		struct step s = step_start(take_in_steps, w);
		unsigned bad = 0, looks = 0;

		for (; step_on(&s, stride); looks++)
			bad += !others_get_the_rest(w, copy);
		CU_ASSERT_TRUE(s.well);
		CU_ASSERT_TRUE(looks > 100);
		CU_ASSERT_EQUAL(bad, 0);
		CU_ASSERT_EQUAL(w->granted, TAKES);
		CU_ASSERT_EQUAL(drain(w->limiter, w->rule), BURST - TAKES + 1);
		walk_end(w);
	}
	(void)munmap(copy, limiter_size(SLOTS));
}

/* The walker is stopped after ${steps}, others take what they can, then it goes on. */
static bool
stopped_after(const struct limiter_rule *r, unsigned steps)
{
	struct walk *w = walk_of(r);
	struct step s = step_start(take_in_steps, w);
	bool good = true;
	unsigned got = 0;

	(void)step_on(&s, steps);
	if (!w->gives_back) {
		got = drain(w->limiter, r);
		step_to_end(&s);
		/* one came back, when it had been granted one at last */
		good = got + w->granted == BURST;
	}
	step_to_end(&s);
	good = good && s.well;
	walk_end(w);
	return good;
}

static void
stopped_at_any_instruction_a_taker_takes_its_token_or_finds_none(void)
{
	const unsigned count = walk_length(), stops = STEPS / count + 3;
	unsigned bad = 0;

	for (unsigned i = 0; i <= stops; i++)
		bad += !stopped_after(i % 2 == 0 ? &bucket : &window, count * i / stops);
	CU_ASSERT_EQUAL(bad, 0);
}

UNIT_SUITE(limiter_steps, TEST(killed_at_any_instruction_a_taker_adds_no_token),
    TEST(stopped_at_any_instruction_a_taker_takes_its_token_or_finds_none));
