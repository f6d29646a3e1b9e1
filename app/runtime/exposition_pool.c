/*
 * Metrics of the processes and the tables that they share, and what is for who scales.
 */
#include "base/version.h"
#include "policy/flight.h"
#include "policy/lease.h"
#include "policy/limiter.h"
#include "runtime/config.h"
#include "runtime/exposition_room.h"
#include "service/tenant.h"
#include "telemetry/endpoint_stats.h"
#include "telemetry/limit_stats.h"

static const double ms_per_s = 1000, us_per_s = 1e6;

enum { NS_PER_MS = 1000000 };

/*
 * Processes.
 */
void
expose_workers(struct exposition *e)
{
	static const char *const words[] = { "idle", "working", "silent" };

	for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
		uint64_t n = 0;

		for (size_t i = 0; i < e->s->member_count; i++) {
			const struct snapshot_member *m = &e->s->members[i];

			n += m->view.kind == MEMBER_WORKER &&
			     slice_eq_cstr(slice_of(snapshot_member_word(e->s, m)), words[w]);
		}
		label(e, "state", words[w]);
		count(e, n);
	}
}

void
expose_workers_max(struct exposition *e)
{
	number(e, (double)e->rt->config->workers);
}

void
expose_lanes_busy(struct exposition *e)
{
	count(e, e->sums.activity.busy);
}

void
expose_lanes_max(struct exposition *e)
{
	count(e, e->sums.activity.threads_max);
}

void
expose_lanes_waiting(struct exposition *e)
{
	count(e, e->sums.activity.waiting);
}

void
expose_lanes_waiting_max(struct exposition *e)
{
	count(e, e->sums.activity.waiting_max);
}

void
expose_bodies(struct exposition *e)
{
	count(e, e->sums.activity.bodies);
}

void
expose_bodies_max(struct exposition *e)
{
	count(e, e->sums.activity.bodies_max);
}

static uint32_t
endpoint_rows(const struct exposition *e)
{
	struct endpoint_view v;
	uint32_t used = 0;

	for (uint32_t row = 0; row < NAMES_ROWS; row++)
		used += endpoint_stats_view(e->rt->regions->endpoints, row, &v);
	return used;
}

static uint32_t
policy_rows(const struct exposition *e)
{
	uint64_t counts[LIMIT_RESULT__COUNT];
	char name[NAME_BYTES];
	uint32_t used = 0;

	for (uint32_t row = 0; row < NAMES_ROWS; row++)
		used += limit_stats_view(e->rt->regions->limits, row, name, counts);
	return used;
}

static void
slots(struct exposition *e, bool limit)
{
	const struct regions *r = e->rt->regions;
	uint32_t used[7];
	const struct {
		const char *name;
		uint32_t slots;
	} tables[] = {
		{ "limiter", limiter_usage(r->limiter, e->s->now_ms * NS_PER_MS, &used[0]) },
		{ "flights", flight_usage(r->flights, &used[1]) },
		{ "keys", tenant_usage(r->tenants, &used[2]) },
		{ "leases", leases_usage(r->leases, e->s->now_ms, &used[3]) },
		{ "endpoints", NAMES_ROWS },
		{ "policies", NAMES_ROWS },
		{ "breakers", GUARDS_MAX },
	};

	used[4] = endpoint_rows(e);
	used[5] = policy_rows(e);
	used[6] = (uint32_t)e->s->breaker_count;

	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		label(e, "table", tables[i].name);
		count(e, limit ? tables[i].slots : used[i]);
	}
}

void
expose_slots_used(struct exposition *e)
{
	slots(e, false);
}

void
expose_slots_max(struct exposition *e)
{
	slots(e, true);
}

void
expose_members(struct exposition *e)
{
	for (int kind = MEMBER_SUPERVISOR; kind <= MEMBER_CONSUMER; kind++) {
		uint64_t n = 0;

		for (size_t i = 0; i < e->s->member_count; i++)
			n += e->s->members[i].view.kind == (enum member_kind)kind;
		label(e, "kind", snapshot_member_name((enum member_kind)kind));
		count(e, n);
	}
}

void
expose_members_max(struct exposition *e)
{
	count(e, SCOREBOARD_MEMBERS);
}

void
expose_spans(struct exposition *e)
{
	if (e->sums.activity.spans_max > 0)
		count(e, e->sums.activity.spans);
}

void
expose_spans_max(struct exposition *e)
{
	if (e->sums.activity.spans_max > 0)
		count(e, e->sums.activity.spans_max);
}

/*
 * For who scales.
 */
void
expose_capacity(struct exposition *e)
{
	label(e, "reason", capacity_reason_name(e->s->capacity.reason));
	number(e, e->s->capacity.ratio);
}

void
expose_refused_ratio(struct exposition *e)
{
	const struct snapshot_window *w = &e->s->window;
	const int64_t all = w->counted[HISTORY_REQUESTS];

	if (w->ms <= 0)
		return;
	label(e, "reason", "limited");
	number(e, all <= 0 ? 0 : (double)w->counted[HISTORY_LIMITED] / (double)all);
	label(e, "reason", "shed");
	number(e, all <= 0 ? 0 : (double)w->counted[HISTORY_SHED] / (double)all);
}

void
expose_lane_utilisation(struct exposition *e)
{
	const struct activity_counts *c = &e->sums.activity;

	if (c->threads_max > 0)
		number(e, (double)c->busy / (double)c->threads_max);
}

void
expose_build(struct exposition *e)
{
	label(e, "version", WEIR_VERSION);
	count(e, 1);
}

void
expose_start(struct exposition *e)
{
	number(e,
	    (double)e->s->now_us / us_per_s - (double)(e->s->now_ms - e->s->since_ms) / ms_per_s);
}
