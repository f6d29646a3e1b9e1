/*
 * The guards of this host's downstreams: rows of the segment, each a name and a breaker.
 *
 * A row is claimed by one swap of its name's hash, and its name is written after that: by its
 * claimer, and again by everybody who opens it, for the claimer may have been killed in between.  All write
 * the same.  Everybody looks from the first row on, so two who claim one name meet in one row.
 */
#include "service/guard.h"

#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rand.h"
#include "telemetry/span.h"

enum {
	NAME_WORDS = GUARD_NAME_BYTES / sizeof(uint64_t),
	ROW_ALIGN = 64,
	NAME_SEED = 0x67756172, /* any; 64 names do not meet in 64 bits */
};

struct row {
	_Alignas(ROW_ALIGN) _Atomic uint64_t hash; /* of the name; 0: free */
	_Atomic uint64_t name[NAME_WORDS];
	struct call_stats calls;
};

/* Behind each row lies its breaker, whose size is its own business. */
struct guards {
	_Alignas(ROW_ALIGN) char rows[ROW_ALIGN];
};

static size_t
row_bytes(void)
{
	return sizeof(struct row) + breaker_size();
}

static struct row *
row_at(const struct guards *g, size_t i)
{
	return (struct row *)((uintptr_t)g->rows + i * row_bytes());
}

static struct breaker *
breaker_of(struct row *row)
{
	return (struct breaker *)(row + 1);
}

size_t
guards_size(void)
{
	return GUARDS_MAX * row_bytes();
}

void
guards_init(void *mem)
{
	const struct guards *g = mem;

	for (size_t i = 0; i < GUARDS_MAX; i++) {
		memset(row_at(g, i), 0, sizeof(struct row));
		breaker_init(breaker_of(row_at(g, i)));
	}
}

/*
 * Rows by name.
 */
static uint64_t
hash_of(const char *name)
{
	const uint64_t hash = hash64(NAME_SEED, name, strlen(name));

	return hash == 0 ? 1 : hash;
}

static void
write_name(struct row *row, const char name[GUARD_NAME_BYTES])
{
	uint64_t words[NAME_WORDS];

	memcpy(words, name, sizeof words);
	for (size_t i = 0; i < NAME_WORDS; i++)
		atomic_store_explicit(&row->name[i], words[i], memory_order_relaxed);
}

/* False: its claimer has not come to write it yet. */
static bool
read_name(const struct row *row, char name_out[GUARD_NAME_BYTES])
{
	uint64_t words[NAME_WORDS];

	for (size_t i = 0; i < NAME_WORDS; i++)
		words[i] = atomic_load_explicit(&row->name[i], memory_order_relaxed);
	memcpy(name_out, words, sizeof words);
	name_out[GUARD_NAME_BYTES - 1] = '\0';
	return hash_of(name_out) == atomic_load(&row->hash);
}

/* NULL when all rows are others'. */
static struct row *
claim_row(const struct guards *g, uint64_t hash)
{
	for (size_t i = 0; i < GUARDS_MAX; i++) {
		struct row *row = row_at(g, i);
		uint64_t seen = 0;

		if (atomic_compare_exchange_strong(&row->hash, &seen, hash) || seen == hash)
			return row;
	}
	return NULL;
}

static struct row *
find_row(const struct guards *g, uint64_t hash)
{
	for (size_t i = 0; i < GUARDS_MAX; i++)
		if (atomic_load(&row_at(g, i)->hash) == hash)
			return row_at(g, i);
	return NULL;
}

enum err
guard_open(struct guards *g, const char *name, const struct breaker_rules *rules, bool suspends,
    struct guard *out)
{
	struct row *row;

	if (strlen(name) >= GUARD_NAME_BYTES)
		return ERR_TOO_LARGE;
	row = claim_row(g, hash_of(name));
	if (row == NULL)
		return ERR_FULL;
	*out = (struct guard){ .breaker = breaker_of(row),
		.calls = &row->calls,
		.rules = *rules,
		.suspends = suspends };
	memcpy(out->name, name, strlen(name));
	write_name(row, out->name);
	return ERR_OK;
}

/*
 * Calls.
 */
static uint64_t
failure_pct(uint64_t failures, uint64_t calls)
{
	return calls == 0 ? 0 : failures * 100 / calls;
}

/* To the log, and to whatever the calling thread is at. */
static void
say(const struct guard *g, const struct breaker_change *c)
{
	const bool bad = c->to == BREAKER_OPEN || c->to == BREAKER_SUSPENDED;
	const struct log_field fields[] = {
		LOG_STR("name", g->name),
		LOG_STR("from", breaker_word(c->from, BREAKER_AUTO)),
		LOG_STR("to", breaker_word(c->to, BREAKER_AUTO)),
		LOG_INT("calls", c->calls),
		LOG_INT("failures", c->failures),
		LOG_INT("slow", c->slow),
		LOG_INT("failure_pct", failure_pct(c->failures, c->calls)),
	};

	if (c->from == c->to)
		return;
	span_event(NULL, "breaker", SPAN_STR(WEIR_BREAKER_NAME, slice_of(g->name)),
	    SPAN_STR(WEIR_BREAKER_FROM, slice_of(breaker_word(c->from, BREAKER_AUTO))),
	    SPAN_STR(WEIR_BREAKER_TO, slice_of(breaker_word(c->to, BREAKER_AUTO))),
	    SPAN_INT(WEIR_BREAKER_CALLS, c->calls), SPAN_INT(WEIR_BREAKER_FAILURES, c->failures),
	    SPAN_INT(WEIR_BREAKER_SLOW, c->slow));
	log_write(bad ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "breaker", fields,
	    sizeof fields / sizeof *fields);
}

static enum err
probe(const struct guard *g, int64_t now_ms, struct guard_pass *pass_out)
{
	struct breaker_ticket t;
	struct breaker_change change;

	if (!breaker_probe(g->breaker, &g->rules, now_ms, &t, &change))
		return ERR_UNAVAILABLE;
	say(g, &change);
	*pass_out = (struct guard_pass){ now_ms, t.serial, t.probe, clock_mono_ns() };
	return ERR_OK;
}

enum err
guard_enter(const struct guard *g, int64_t now_ms, struct guard_pass *pass_out)
{
	struct breaker_ticket t;
	enum err rc;

	if (breaker_allow(g->breaker, &t)) {
		*pass_out = (struct guard_pass){ now_ms, t.serial, t.probe, clock_mono_ns() };
		return ERR_OK;
	}
	rc = g->suspends ? ERR_UNAVAILABLE : probe(g, now_ms, pass_out);
	if (rc != ERR_OK)
		call_stats_count(g->calls, CALL_REFUSED, 0);
	return rc;
}

enum err
guard_probe(const struct guard *g, int64_t now_ms, struct guard_pass *pass_out)
{
	return probe(g, now_ms, pass_out);
}

static enum breaker_outcome
outcome_of(const struct guard *g, enum err result, int64_t took_ms)
{
	if (result == ERR_TIMEOUT && g->suspends)
		return BREAKER_STALLED;
	if (result == ERR_TIMEOUT || result == ERR_UNAVAILABLE || result == ERR_IO)
		return BREAKER_FAILED;
	return took_ms > g->rules.slow_ms ? BREAKER_SLOW : BREAKER_ANSWERED;
}

static enum call_result
counted_as(const struct guard *g, enum err result, int64_t took_ms)
{
	if (result == ERR_TIMEOUT)
		return CALL_TIMEOUT;
	if (result == ERR_UNAVAILABLE || result == ERR_IO)
		return CALL_FAILED;
	return took_ms > g->rules.slow_ms ? CALL_SLOW : CALL_ANSWERED;
}

void
guard_leave(const struct guard *g, const struct guard_pass *pass, enum err result, int64_t now_ms)
{
	const struct breaker_ticket t = { pass->serial, pass->probe };
	const struct breaker_change change = breaker_report(
	    g->breaker, &g->rules, &t, outcome_of(g, result, now_ms - pass->begun_ms), now_ms);

	call_stats_count(g->calls, counted_as(g, result, now_ms - pass->begun_ms),
	    clock_mono_ns() - pass->begun_ns);
	say(g, &change);
}

void
guard_withdraw(const struct guard *g, const struct guard_pass *pass, int64_t now_ms)
{
	breaker_withdraw(g->breaker, &(struct breaker_ticket){ pass->serial, pass->probe }, now_ms);
}

bool
guard_is_up(const struct guard *g)
{
	struct breaker_ticket t;

	return breaker_allow(g->breaker, &t);
}

bool
guard_admits(const struct guard *g, int64_t now_ms)
{
	if (breaker_admits(g->breaker, &g->rules, now_ms, (uint32_t)rand_u64()))
		return true;
	call_stats_count(g->calls, CALL_REFUSED, 0);
	return false;
}

/*
 * People.
 */
size_t
guards_look(const struct guards *g, int64_t now_ms, struct guard_view out[GUARDS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < GUARDS_MAX; i++) {
		struct row *row = row_at(g, i);

		if (atomic_load(&row->hash) == 0 || !read_name(row, out[n].name))
			continue;
		breaker_look(breaker_of(row), now_ms, &out[n++].breaker);
	}
	return n;
}

bool
guards_calls(const struct guards *g, size_t i, struct call_view *out)
{
	const struct row *row = row_at(g, i);

	if (atomic_load(&row->hash) == 0 || !read_name(row, out->name))
		return false;
	call_stats_view(&row->calls, out);
	return true;
}

enum err
guards_force(struct guards *g, const char *name, enum breaker_force force, int64_t now_ms)
{
	struct row *row = find_row(g, hash_of(name));
	struct breaker_view before, after;

	if (row == NULL)
		return ERR_NOT_FOUND;
	breaker_look(breaker_of(row), now_ms, &before);
	breaker_force(breaker_of(row), force, now_ms);
	breaker_look(breaker_of(row), now_ms, &after);
	if (before.force != after.force)
		log_warn("breaker", LOG_STR("name", name),
		    LOG_STR("from", breaker_word(before.state, before.force)),
		    LOG_STR("to", breaker_word(after.state, after.force)),
		    LOG_INT("calls", after.calls), LOG_INT("failures", after.failures),
		    LOG_INT("slow", after.slow),
		    LOG_INT("failure_pct", failure_pct(after.failures, after.calls)));
	return ERR_OK;
}
