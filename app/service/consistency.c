/*
 * The tokens of X-Weir-Consistency and its cookie, and the writes behind them.
 */
#include "service/consistency.h"

#include <time.h>

#include "base/clock.h"
#include "service/ledger.h"

enum { WAIT_MS = 200, NAP_MS = 5 };

static enum err
add(struct consistency *c, struct slice token)
{
	if (c->count == CONSISTENCY_MAX_EVENTS || event_id_parse(token, c->ids[c->count]) != ERR_OK)
		return ERR_INVALID;
	c->count++;
	return ERR_OK;
}

static void
take_cookies(struct consistency *c, struct slice cookies)
{
	while (cookies.ptr != NULL) {
		struct slice value = slice_cut(&cookies, ';');
		const struct slice name = slice_trim(slice_cut(&value, '='));

		if (slice_eq_cstr(name, CONSISTENCY_COOKIE))
			(void)add(c, slice_trim(value));
	}
}

enum err
consistency_parse(struct slice header, struct slice cookies, struct consistency *out)
{
	enum err rc = ERR_OK;

	*out = (struct consistency){ .count = 0 };
	while (header.ptr != NULL && rc == ERR_OK)
		rc = add(out, slice_trim(slice_cut(&header, ',')));
	while (rc == ERR_OK && cookies.ptr != NULL)
		take_cookies(out, slice_cut(&cookies, ',')); /* several lines are joined so */
	return rc;
}

static void
note(struct consistency *c, const struct operation *op)
{
	if (op->at_us > c->applied_us)
		c->applied_us = op->at_us;
	if (op->position > c->position)
		c->position = op->position;
}

void
consistency_look(struct consistency *c, struct ledger *l, int64_t deadline_ms, struct arena *a)
{
	struct operation op;

	c->missing = 0;
	for (size_t i = 0; i < c->count; i++)
		if (operation_find(l, c->ids[i], deadline_ms, a, &op) != ERR_OK)
			c->missing++;
		else
			note(c, &op);
}

void
consistency_wait(struct consistency *c, struct ledger *l, int64_t deadline_ms, struct arena *a)
{
	const int64_t most_ms = clock_mono_ms() + WAIT_MS;
	const int64_t until_ms = most_ms < deadline_ms ? most_ms : deadline_ms;

	consistency_look(c, l, until_ms, a);
	while (c->missing > 0 && clock_mono_ms() < until_ms) {
		(void)nanosleep(&(struct timespec){ .tv_nsec = NAP_MS * 1000000L }, NULL);
		consistency_look(c, l, until_ms, a);
	}
}
