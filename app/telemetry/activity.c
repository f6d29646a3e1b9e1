/*
 * Words about what a worker does.
 *
 * What is more than a word (a name with its time) stands behind a word that says "nothing" while it is
 * written; a reader looks at that word before and after, and takes what has changed meanwhile for nothing.
 */
#include "telemetry/activity.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "telemetry/scoreboard.h"

enum { NAME_WORDS = ACTIVITY_NAME_BYTES / 8, KIND_BITS = 3 };

/* A kind, since when, and of which endpoint; a cache line, so that two threads never share one. */
struct note {
	alignas(64) _Atomic uint64_t word; /* since_ms << KIND_BITS | kind; 0: nothing */
	_Atomic uint64_t name[NAME_WORDS];
};

struct activity_row {
	alignas(64) _Atomic uint32_t waits;
	alignas(64) _Atomic uint32_t connections, at[ACTIVITY_PLACE__COUNT];
	_Atomic uint32_t threads, threads_max, busy, waiting, waiting_max, bodies, bodies_max;
	_Atomic uint32_t refreshes, refreshes_max, spans, spans_max;
	struct note oldest;
	struct note lanes[ACTIVITY_LANES];
};

struct activity {
	struct activity_row rows[SCOREBOARD_MEMBERS];
};

_Static_assert((int)ACTIVITY_PLACE__COUNT <= 1 << KIND_BITS, "a place fits beside its time");

const char *
activity_place_name(enum activity_place p)
{
	static const char *const names[ACTIVITY_PLACE__COUNT] = {
		[ACTIVITY_NOWHERE] = "nowhere",
		[ACTIVITY_RUNS] = "reactor",
		[ACTIVITY_LANE] = "lane",
		[ACTIVITY_QUEUE] = "queue",
		[ACTIVITY_FLIGHT] = "flight",
		[ACTIVITY_TURN] = "turn",
	};

	return p < ACTIVITY_PLACE__COUNT ? names[p] : names[ACTIVITY_NOWHERE];
}

size_t
activity_size(void)
{
	return sizeof(struct activity);
}

void
activity_init(void *mem)
{
	memset(mem, 0, sizeof(struct activity));
}

struct activity_row *
activity_of(struct activity *a, unsigned member)
{
	return &a->rows[member];
}

/*
 * Notes.
 */
static void
note_clear(struct note *n)
{
	atomic_store_explicit(&n->word, 0, memory_order_release);
}

static void
note_write(struct note *n, unsigned kind, int64_t since_ms, struct slice name)
{
	uint64_t words[NAME_WORDS] = { 0 };

	if (name.len > 0)
		memcpy(words, name.ptr,
		    name.len < ACTIVITY_NAME_BYTES ? name.len : ACTIVITY_NAME_BYTES - 1);
	atomic_store_explicit(&n->word, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	for (size_t i = 0; i < NAME_WORDS; i++)
		atomic_store_explicit(&n->name[i], words[i], memory_order_relaxed);
	atomic_store_explicit(
	    &n->word, (uint64_t)since_ms << KIND_BITS | kind, memory_order_release);
}

/* Returns the kind, 0 for nothing. */
static unsigned
note_read(const struct note *n, int64_t *since_ms_out, char name_out[ACTIVITY_NAME_BYTES])
{
	const uint64_t word = atomic_load_explicit(&n->word, memory_order_acquire);
	uint64_t words[NAME_WORDS];

	*since_ms_out = 0;
	name_out[0] = '\0';
	if (word == 0)
		return 0;
	for (size_t i = 0; i < NAME_WORDS; i++)
		words[i] = atomic_load_explicit(&n->name[i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&n->word, memory_order_relaxed) != word)
		return 0;
	memcpy(name_out, words, ACTIVITY_NAME_BYTES);
	name_out[ACTIVITY_NAME_BYTES - 1] = '\0';
	if (!utf8_valid(slice_of(name_out), NULL)) /* cut inside a character */
		name_out[0] = '\0';
	*since_ms_out = (int64_t)(word >> KIND_BITS);
	return (unsigned)(word & ((1 << KIND_BITS) - 1));
}

/*
 * The worker's side.
 */
void
activity_clear(struct activity_row *r)
{
	static const struct activity_counts none;

	activity_waits(r, false);
	activity_publish(r, &none, ACTIVITY_NOWHERE, 0, (struct slice){ 0 });
	for (size_t i = 0; i < ACTIVITY_LANES; i++)
		note_clear(&r->lanes[i]);
}

void
activity_waits(struct activity_row *r, bool waits)
{
	atomic_store_explicit(&r->waits, waits, memory_order_relaxed);
}

void
activity_begin(struct activity_row *r, size_t thread, enum activity_work work,
    struct slice endpoint, int64_t now_ms)
{
	if (thread < ACTIVITY_LANES)
		note_write(&r->lanes[thread], work, now_ms, endpoint);
}

void
activity_end(struct activity_row *r, size_t thread)
{
	if (thread < ACTIVITY_LANES)
		note_clear(&r->lanes[thread]);
}

static void
set(_Atomic uint32_t *word, uint32_t n)
{
	atomic_store_explicit(word, n, memory_order_relaxed);
}

void
activity_publish(struct activity_row *r, const struct activity_counts *c, enum activity_place place,
    int64_t since_ms, struct slice endpoint)
{
	set(&r->connections, c->connections);
	for (size_t i = 0; i < ACTIVITY_PLACE__COUNT; i++)
		set(&r->at[i], c->at[i]);
	set(&r->threads, c->threads);
	set(&r->threads_max, c->threads_max);
	set(&r->busy, c->busy);
	set(&r->waiting, c->waiting);
	set(&r->waiting_max, c->waiting_max);
	set(&r->bodies, c->bodies);
	set(&r->bodies_max, c->bodies_max);
	set(&r->refreshes, c->refreshes);
	set(&r->refreshes_max, c->refreshes_max);
	set(&r->spans, c->spans);
	set(&r->spans_max, c->spans_max);
	if (place == ACTIVITY_NOWHERE)
		note_clear(&r->oldest);
	else
		note_write(&r->oldest, place, since_ms, endpoint);
}

/*
 * The looker's side.
 */
static uint32_t
get(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

void
activity_view(const struct activity *a, unsigned member, struct activity_view *out)
{
	const struct activity_row *r = &a->rows[member];
	struct activity_counts *c = &out->counts;

	out->waits = get(&r->waits) != 0;
	c->connections = get(&r->connections);
	for (size_t i = 0; i < ACTIVITY_PLACE__COUNT; i++)
		c->at[i] = get(&r->at[i]);
	c->threads = get(&r->threads);
	c->threads_max = get(&r->threads_max);
	c->busy = get(&r->busy);
	c->waiting = get(&r->waiting);
	c->waiting_max = get(&r->waiting_max);
	c->bodies = get(&r->bodies);
	c->bodies_max = get(&r->bodies_max);
	c->refreshes = get(&r->refreshes);
	c->refreshes_max = get(&r->refreshes_max);
	c->spans = get(&r->spans);
	c->spans_max = get(&r->spans_max);
	out->oldest.place =
	    (enum activity_place)note_read(&r->oldest, &out->oldest.since_ms, out->oldest.endpoint);
	for (size_t i = 0; i < ACTIVITY_LANES; i++) {
		struct activity_lane *l = &out->lanes[i];

		l->work = (enum activity_work)note_read(&r->lanes[i], &l->since_ms, l->endpoint);
	}
}
