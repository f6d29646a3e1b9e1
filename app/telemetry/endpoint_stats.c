/*
 * Shards of counters, sixteen copies of their sums, and exemplars.
 *
 * A copy is made by whoever moves `second` first; its stamp is the last that is written, so one whose maker
 * died is not looked at.  A maker that was stopped for a quarter of a minute in the middle may spoil a
 * later copy: rates may then be wrong for as long, totals never.  Copies are 32 bits wide: only differences of
 * some seconds are made of them.
 */
#include "telemetry/endpoint_stats.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"

enum {
	SHARDS = 8,
	COPIES = 16,
	FIRST_EDGE_BIT = 7,
	EXEMPLAR_PAUSE_US = 1000000, /* one a second is enough for whoever looks */
	EXEMPLAR_SEED = 0x6578,
	CLIENT_CLOSED_REQUEST = 499,
};

const char *const endpoint_class_names[ENDPOINT_CLASS__COUNT] = {
	[ENDPOINT_NORMAL] = "normal",
	[ENDPOINT_CRITICAL] = "critical",
	[ENDPOINT_BULK] = "bulk",
};

const char *const served_from_names[SERVED__COUNT] = {
	[SERVED_NOT_READ] = "none",
	[SERVED_DATABASE] = "database",
	[SERVED_L1] = "l1",
	[SERVED_L2] = "l2",
	[SERVED_STALE] = "stale",
	[SERVED_COLLAPSED] = "collapsed",
	[SERVED_IF_ERROR] = "if_error",
};

/* The frequent ones first. */
const int endpoint_codes[ENDPOINT_CODES] = { 200, 304, 202, 404, 429, 503, 400, 401, 403, 204, 201,
	405, 406, 408, 409, 413, 415, 422, 431, 499, 500, 502, 504, 0 };

const char *const endpoint_queue_names[ENDPOINT_QUEUE__COUNT] = {
	[ENDPOINT_QUEUE_LISTEN] = "listen",
	[ENDPOINT_QUEUE_LANE] = "lane",
};

struct cell {
	alignas(64) _Atomic uint64_t codes[ENDPOINT_CODES];
	_Atomic uint64_t served[SERVED__COUNT];
	struct histogram took;
};

struct copy_row {
	_Atomic uint32_t codes[ENDPOINT_CODES], served[SERVED__COUNT], bucket[HISTOGRAM_BUCKETS];
	_Atomic uint64_t sum_ns;
};

struct copy {
	_Atomic int64_t at_ms; /* 0: is being written */
	struct copy_row rows[ENDPOINT_ROWS];
};

struct exemplar {
	_Atomic uint64_t check, id[2], took_ns, wall_us;
};

struct endpoint_stats {
	struct names names;
	uint64_t key_none, key_other; /* files may bear these names too */
	int64_t made_ms;
	_Atomic uint32_t class[ENDPOINT_ROWS];
	_Atomic int64_t second; /* of the newest copy */
	struct cell cells[ENDPOINT_ROWS][SHARDS];
	struct histogram waits[ENDPOINT_QUEUE__COUNT][SHARDS];
	struct copy copies[COPIES];
	struct exemplar exemplars[ENDPOINT_ROWS][ENDPOINT_EDGES + 1];
};

uint64_t
endpoint_edge_us(size_t edge)
{
	return (uint64_t)1 << (FIRST_EDGE_BIT + edge);
}

size_t
endpoint_stats_size(void)
{
	return sizeof(struct endpoint_stats);
}

void
endpoint_stats_init(void *mem, int64_t now_ms)
{
	struct endpoint_stats *e = mem;

	memset(e, 0, sizeof *e);
	e->key_none = hash64(0, "none", 4);
	e->key_other = hash64(0, "other", 5);
	e->made_ms = now_ms;
}

/*
 * Recording.
 */
static size_t
code_index(int status)
{
	size_t i = 0;

	if (status == 0)
		status = CLIENT_CLOSED_REQUEST;
	while (i + 1 < ENDPOINT_CODES && endpoint_codes[i] != status)
		i++;
	return i;
}

static uint32_t
row_of(struct endpoint_stats *e, uint64_t key, struct slice name)
{
	uint32_t row;

	if (key == 0 || key == e->key_none)
		return ENDPOINT_ROW_NONE;
	if (key == e->key_other)
		return ENDPOINT_ROW_OTHER;
	row = names_claim(&e->names, key, name);
	return row == NAMES_NONE ? ENDPOINT_ROW_OTHER : row;
}

static void
set_class(struct endpoint_stats *e, uint32_t row, enum endpoint_class class)
{
	if (row < NAMES_ROWS &&
	    atomic_load_explicit(&e->class[row], memory_order_relaxed) != (uint32_t) class)
		atomic_store_explicit(&e->class[row], (uint32_t) class, memory_order_relaxed);
}

static size_t
edge_of(int64_t took_ns)
{
	size_t edge = 0;

	while (edge < ENDPOINT_EDGES && took_ns > (int64_t)endpoint_edge_us(edge) * 1000)
		edge++;
	return edge;
}

static uint64_t
check_of(const uint64_t words[4])
{
	return hash64(EXEMPLAR_SEED, words, 4 * sizeof *words);
}

static void
keep_exemplar(struct exemplar *x, const struct endpoint_sample *s)
{
	uint64_t words[4] = { 0, 0, (uint64_t)s->took_ns, (uint64_t)s->wall_us };
	const uint64_t last = atomic_load_explicit(&x->wall_us, memory_order_relaxed);

	if ((int64_t)(words[3] - last) < EXEMPLAR_PAUSE_US)
		return;
	memcpy(words, s->trace_id, 16);
	atomic_store_explicit(&x->id[0], words[0], memory_order_relaxed);
	atomic_store_explicit(&x->id[1], words[1], memory_order_relaxed);
	atomic_store_explicit(&x->took_ns, words[2], memory_order_relaxed);
	atomic_store_explicit(&x->wall_us, words[3], memory_order_relaxed);
	atomic_store_explicit(&x->check, check_of(words), memory_order_release);
}

void
endpoint_stats_record(struct endpoint_stats *e, unsigned member, const struct endpoint_sample *s)
{
	const uint32_t row = row_of(e, s->key, s->name);
	struct cell *c = &e->cells[row][member % SHARDS];

	atomic_fetch_add_explicit(&c->codes[code_index(s->status)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->served[s->served], 1, memory_order_relaxed);
	histogram_record(&c->took, s->took_ns);
	set_class(e, row, s->class);
	if (s->trace_id != NULL)
		keep_exemplar(&e->exemplars[row][edge_of(s->took_ns)], s);
}

void
endpoint_stats_waited(
    struct endpoint_stats *e, unsigned member, enum endpoint_queue q, int64_t waited_ns)
{
	histogram_record(&e->waits[q][member % SHARDS], waited_ns);
}

void
endpoint_stats_waits(
    const struct endpoint_stats *e, enum endpoint_queue q, struct histogram_view *sum)
{
	for (size_t shard = 0; shard < SHARDS; shard++)
		histogram_add(&e->waits[q][shard], sum);
}

void
endpoint_stats_claim(
    struct endpoint_stats *e, uint64_t key, struct slice name, enum endpoint_class class)
{
	set_class(e, row_of(e, key, name), class);
}

/*
 * Looking.
 */
static bool
head_of(const struct endpoint_stats *e, uint32_t row, struct endpoint_view *out)
{
	memset(out, 0, sizeof *out);
	out->class = (enum endpoint_class)atomic_load(&e->class[row]);
	if (row < NAMES_ROWS)
		return names_read(&e->names, row, out->name);
	memcpy(out->name, row == ENDPOINT_ROW_NONE ? "none" : "other",
	    row == ENDPOINT_ROW_NONE ? 5 : 6);
	return true;
}

static void
sum_cells(const struct endpoint_stats *e, uint32_t row, struct endpoint_view *out)
{
	for (size_t shard = 0; shard < SHARDS; shard++) {
		const struct cell *c = &e->cells[row][shard];

		for (size_t i = 0; i < ENDPOINT_CODES; i++)
			out->codes[i] += atomic_load_explicit(&c->codes[i], memory_order_relaxed);
		for (size_t i = 0; i < SERVED__COUNT; i++)
			out->served[i] += atomic_load_explicit(&c->served[i], memory_order_relaxed);
		histogram_add(&c->took, &out->took);
	}
	for (size_t i = 0; i < ENDPOINT_CODES; i++)
		out->requests += out->codes[i];
}

bool
endpoint_stats_view(const struct endpoint_stats *e, uint32_t row, struct endpoint_view *out)
{
	if (!head_of(e, row, out))
		return false;
	sum_cells(e, row, out);
	return true;
}

/*
 * Copies.
 */
static void
copy_row_write(const struct endpoint_view *v, struct copy_row *r)
{
	for (size_t i = 0; i < ENDPOINT_CODES; i++)
		atomic_store_explicit(&r->codes[i], (uint32_t)v->codes[i], memory_order_relaxed);
	for (size_t i = 0; i < SERVED__COUNT; i++)
		atomic_store_explicit(&r->served[i], (uint32_t)v->served[i], memory_order_relaxed);
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		atomic_store_explicit(
		    &r->bucket[i], (uint32_t)v->took.bucket[i], memory_order_relaxed);
	atomic_store_explicit(&r->sum_ns, v->took.sum_ns, memory_order_relaxed);
}

void
endpoint_stats_tick(struct endpoint_stats *e, int64_t now_ms, int64_t patience_s)
{
	const int64_t second = now_ms / 1000;
	int64_t last = atomic_load(&e->second);
	struct copy *c = &e->copies[second % COPIES];
	struct endpoint_view v;

	if (last + patience_s > second ||
	    !atomic_compare_exchange_strong(&e->second, &last, second))
		return;
	atomic_store(&c->at_ms, 0);
	for (uint32_t row = 0; row < ENDPOINT_ROWS; row++) {
		memset(&v, 0, sizeof v);
		if (row >= NAMES_ROWS || atomic_load(&e->names.key[row]) != 0) {
			sum_cells(e, row, &v);
			copy_row_write(&v, &c->rows[row]);
		}
	}
	atomic_store(&c->at_ms, now_ms);
}

/* NULL: there is none so old. */
static const struct copy *
copy_before(const struct endpoint_stats *e, int64_t now_ms, unsigned seconds, int64_t *at_ms_out)
{
	const int64_t from_ms = now_ms - (int64_t)seconds * 1000;
	const struct copy *best = NULL;

	for (size_t i = 0; i < COPIES; i++) {
		const int64_t at_ms = atomic_load(&e->copies[i].at_ms);

		/* The newest of those that are as old; a copy may come late by a beat. */
		if (at_ms == 0 || at_ms > from_ms + 500 || at_ms < from_ms - 2000)
			continue;
		if (best == NULL || at_ms > *at_ms_out) {
			best = &e->copies[i];
			*at_ms_out = at_ms;
		}
	}
	return best;
}

static uint64_t
since(uint64_t now, uint32_t then)
{
	const uint64_t n = (uint32_t)now - then;

	return n > now ? 0 : n;
}

static void
subtract(struct endpoint_view *v, const struct copy_row *r)
{
	v->requests = v->took.count = 0;
	for (size_t i = 0; i < ENDPOINT_CODES; i++) {
		v->codes[i] = since(v->codes[i], atomic_load(&r->codes[i]));
		v->requests += v->codes[i];
	}
	for (size_t i = 0; i < SERVED__COUNT; i++)
		v->served[i] = since(v->served[i], atomic_load(&r->served[i]));
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		v->took.bucket[i] = since(v->took.bucket[i], atomic_load(&r->bucket[i]));
		v->took.count += v->took.bucket[i];
	}
	v->took.sum_ns -= atomic_load(&r->sum_ns);
}

bool
endpoint_stats_recent(const struct endpoint_stats *e, uint32_t row, int64_t now_ms,
    unsigned seconds, struct endpoint_view *out, int64_t *span_ms_out)
{
	int64_t at_ms = 0;
	const struct copy *c = copy_before(e, now_ms, seconds, &at_ms);

	if (!endpoint_stats_view(e, row, out))
		return false;
	*span_ms_out = 0;
	if (c != NULL) {
		subtract(out, &c->rows[row]);
		if (atomic_load(&c->at_ms) == at_ms)
			*span_ms_out = now_ms - at_ms;
	} else if (now_ms - e->made_ms < (int64_t)(seconds + 2) * 1000) {
		*span_ms_out = now_ms - e->made_ms; /* all that ever was */
	}
	return *span_ms_out > 0 || head_of(e, row, out);
}

void
endpoint_view_add(struct endpoint_view *sum, const struct endpoint_view *v)
{
	for (size_t i = 0; i < ENDPOINT_CODES; i++)
		sum->codes[i] += v->codes[i];
	for (size_t i = 0; i < SERVED__COUNT; i++)
		sum->served[i] += v->served[i];
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		sum->took.bucket[i] += v->took.bucket[i];
	sum->requests += v->requests;
	sum->took.count += v->took.count;
	sum->took.sum_ns += v->took.sum_ns;
}

int64_t
endpoint_stats_recent_class(const struct endpoint_stats *e, int class, int64_t now_ms,
    unsigned seconds, struct endpoint_view *out)
{
	int64_t span_ms = 0, row_ms;
	struct endpoint_view v;

	memset(out, 0, sizeof *out);
	for (uint32_t row = 0; row < ENDPOINT_ROWS; row++) {
		if ((class >= 0 && (int)atomic_load(&e->class[row]) != class) ||
		    !endpoint_stats_recent(e, row, now_ms, seconds, &v, &row_ms))
			continue;
		endpoint_view_add(out, &v);
		if (row_ms > span_ms)
			span_ms = row_ms;
	}
	return span_ms;
}

uint64_t
endpoint_view_class(const struct endpoint_view *v, int hundreds)
{
	uint64_t n = 0;

	for (size_t i = 0; i < ENDPOINT_CODES; i++)
		if ((endpoint_codes[i] == 304 ? 2 : endpoint_codes[i] / 100) == hundreds)
			n += v->codes[i];
	return n;
}

bool
endpoint_stats_exemplar(
    const struct endpoint_stats *e, uint32_t row, size_t edge, struct endpoint_exemplar *out)
{
	const struct exemplar *x = &e->exemplars[row][edge];
	const uint64_t check = atomic_load(&x->check);
	const uint64_t words[4] = { atomic_load(&x->id[0]), atomic_load(&x->id[1]),
		atomic_load(&x->took_ns), atomic_load(&x->wall_us) };

	if (check == 0 || check != check_of(words))
		return false;
	memcpy(out->trace_id, words, sizeof out->trace_id);
	out->took_ns = (int64_t)words[2];
	out->wall_us = (int64_t)words[3];
	return true;
}
