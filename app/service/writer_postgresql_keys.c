/*
 * The key table on PostgreSQL: all keys of a batch in one statement, exact among any number of consumers.
 *
 * ON CONFLICT waits for another transaction that is about to write the same key, so afterwards each key is either
 * ours or was there.  Keys are sorted, so that two who claim the same ones wait for each other in one
 * order.  What was there is looked at by statements of their own, which see what was committed meanwhile.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "service/writer_postgresql.h"

enum { ROUNDS_MAX = 10, ARRAY_BYTES_MAX = 256 << 20, OTHERS_LAG_HOURS = 24 };

/* One event that wants its key. */
struct wanted {
	const struct event *event;
	size_t index; /* in the batch */
	char id[EVENT_ID_TEXT];
};

static int
compare_wanted(const void *x, const void *y)
{
	const struct wanted *a = x, *b = y;
	const int order = memcmp(a->id, b->id, sizeof a->id);

	return order != 0 ? order : (a->index > b->index) - (a->index < b->index);
}

static int
compare_id(const void *key, const void *x)
{
	const struct slice *id = key;
	const struct wanted *w = x;

	return slice_cmp(*id, (struct slice){ w->id, EVENT_ID_TEXT - 1 });
}

/*
 * Columns: arrays as PostgreSQL writes them, `{"a","b"}`.
 */
enum column {
	COLUMN_ID,
	COLUMN_FINGERPRINT,
	COLUMN_TENANT,
	COLUMN_ENDPOINT,
	COLUMN_KEY,
	COLUMN_EXPIRED,
	COLUMN__COUNT
};

struct columns {
	struct strbuf text[COLUMN__COUNT];
	char now[CLOCK_RFC3339_BYTES];
	struct pg_param params[COLUMN__COUNT + 1]; /* and ${now} */
};

static void
add_element(struct strbuf *b, struct slice s, struct arena *a)
{
	const struct slice text = pg_text_param(s, a).value;

	strbuf_add_char(b, '"');
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '"' || text.ptr[i] == '\\')
			strbuf_add_char(b, '\\');
		strbuf_add_char(b, text.ptr[i]);
	}
	strbuf_add_char(b, '"');
}

static void
add_bytes_element(struct strbuf *b, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	strbuf_add_cstr(b, "\"\\\\x");
	for (size_t i = 0; i < len; i++) {
		strbuf_add_char(b, digits[bytes[i] >> 4]);
		strbuf_add_char(b, digits[bytes[i] & 15]);
	}
	strbuf_add_char(b, '"');
}

static void
add_row(
    struct columns *c, const struct event *ev, const char *id, int64_t key_ttl_us, struct arena *a)
{
	char expired[CLOCK_RFC3339_BYTES];

	strbuf_add_cstr(&c->text[COLUMN_ID], id);
	add_bytes_element(&c->text[COLUMN_FINGERPRINT], ev->fingerprint, EVENT_FINGERPRINT_BYTES);
	add_element(&c->text[COLUMN_TENANT], ev->tenant, a);
	add_element(&c->text[COLUMN_ENDPOINT], ev->endpoint, a);
	add_element(&c->text[COLUMN_KEY], ev->key, a);
	strbuf_add_cstr(
	    &c->text[COLUMN_EXPIRED], clock_rfc3339(ev->accepted_us - key_ttl_us, expired));
}

static void
columns_free(struct columns *c)
{
	for (size_t i = 0; i < COLUMN__COUNT; i++)
		strbuf_free(&c->text[i]);
}

static enum err
columns_make(struct columns *c, const struct wanted *list, size_t count, int64_t now_us,
    int64_t key_ttl_us, struct arena *a)
{
	bool failed = false;

	for (size_t i = 0; i < COLUMN__COUNT; i++) {
		c->text[i] = STRBUF_INIT(ARRAY_BYTES_MAX);
		strbuf_add_char(&c->text[i], '{');
	}
	for (size_t n = 0; n < count; n++) {
		for (size_t i = 0; i < COLUMN__COUNT && n > 0; i++)
			strbuf_add_char(&c->text[i], ',');
		add_row(c, list[n].event, list[n].id, key_ttl_us, a);
	}
	for (size_t i = 0; i < COLUMN__COUNT; i++) {
		strbuf_add_char(&c->text[i], '}');
		failed = failed || c->text[i].failed;
		c->params[i] = (struct pg_param){ .value = strbuf_slice(&c->text[i]) };
	}
	c->params[COLUMN__COUNT] =
	    (struct pg_param){ .value = slice_of(clock_rfc3339(now_us, c->now)) };
	return failed || a->overflowed ? ERR_NOMEM : ERR_OK;
}

/*
 * Claiming.
 */
#define COLUMNS_SQL                                                                                \
	"unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])"   \
	" AS u (event_id, fingerprint, tenant, endpoint, key, expired)"

static const char insert_sql[] =
    "INSERT INTO weir_keys (event_id, fingerprint, tenant, endpoint, key, state, rows, at)"
    " SELECT event_id, fingerprint, tenant, endpoint, key, 'applied', 1, $7::timestamptz"
    " FROM " COLUMNS_SQL " ON CONFLICT (event_id) DO NOTHING RETURNING event_id";

/* Whose time was over before its next use was accepted; in no order that we could choose, but they are rare. */
static const char renew_sql[] =
    "UPDATE weir_keys AS k SET fingerprint = u.fingerprint, state = 'applied', reason = NULL,"
    " rows = 1, at = $7::timestamptz FROM " COLUMNS_SQL
    " WHERE k.event_id = u.event_id AND k.at < u.expired RETURNING k.event_id";

static const char compare_sql[] =
    "SELECT k.event_id, k.fingerprint = u.fingerprint AND k.tenant = u.tenant"
    " AND k.endpoint = u.endpoint AND k.key = u.key"
    " FROM " COLUMNS_SQL " JOIN weir_keys AS k ON k.event_id = u.event_id";

struct claiming {
	struct pg_writer *w;
	struct wanted *list; /* sorted; what is not decided yet stands in front */
	size_t count;
	bool *decided; /* one for each of the list */
	int64_t now_us, key_ttl_us;
	enum writer_claim *claims;
};

/* The first of each id stands in front, in order; the others wait for the next round.  Returns how many come first. */
static size_t
put_firsts_in_front(struct claiming *c, struct wanted *scratch)
{
	size_t firsts = 0, others = 0;

	for (size_t i = 0; i < c->count; i++) {
		if (i == 0 || memcmp(c->list[i].id, c->list[i - 1].id, EVENT_ID_TEXT) != 0)
			scratch[firsts++] = c->list[i];
	}
	for (size_t i = 1; i < c->count; i++)
		if (memcmp(c->list[i].id, c->list[i - 1].id, EVENT_ID_TEXT) == 0)
			scratch[firsts + others++] = c->list[i];
	memcpy(c->list, scratch, c->count * sizeof *scratch);
	return firsts;
}

static void
decide(struct claiming *c, size_t firsts, struct slice id, enum writer_claim claim)
{
	const struct wanted *w = bsearch(&id, c->list, firsts, sizeof *c->list, compare_id);
	const size_t at = w == NULL ? firsts : (size_t)(w - c->list);

	if (w == NULL || c->decided[at])
		return;
	c->decided[at] = true;
	c->claims[w->index] = claim;
}

static void
decide_new(struct claiming *c, size_t firsts, const struct pg_result *r)
{
	for (size_t i = 0; i < pg_rows(r); i++)
		decide(c, firsts, pg_text(r, i, 0), WRITER_NEW);
}

static void
decide_known(struct claiming *c, size_t firsts, const struct pg_result *r)
{
	for (size_t i = 0; i < pg_rows(r); i++)
		decide(c, firsts, pg_text(r, i, 0),
		    slice_eq_cstr(pg_text(r, i, 1), "t") ? WRITER_APPLIED : WRITER_CLASH);
}

/* Keeps only what is not decided, in the order of ids. */
static void
close_ranks(struct claiming *c)
{
	size_t left = 0;

	for (size_t i = 0; i < c->count; i++)
		if (!c->decided[i])
			c->list[left++] = c->list[i];
	c->count = left;
	memset(c->decided, 0, left * sizeof *c->decided);
	qsort(c->list, left, sizeof *c->list, compare_wanted);
}

/* One of each id: inserted; or renewed, known, a clash; or gone again meanwhile, and left for the next round. */
static enum err
claim_firsts(struct claiming *c, size_t firsts, struct writer_failure *why)
{
	struct columns columns;
	struct pg_result *r[2] = { NULL, NULL };
	const struct pg_statement insert = { "weir", insert_sql, columns.params,
		COLUMN__COUNT + 1 };
	const struct pg_statement others[] = {
		{ "weir", renew_sql, columns.params, COLUMN__COUNT + 1 },
		{ "weir", compare_sql, columns.params, COLUMN__COUNT },
	};
	size_t inserted = 0;
	enum err rc =
	    columns_make(&columns, c->list, firsts, c->now_us, c->key_ttl_us, &c->w->arena);

	if (rc != ERR_OK)
		rc = writer_no_memory(why);
	else
		rc = pg_writer_run(c->w, &insert, 1, r, why);
	if (rc == ERR_OK) {
		inserted = pg_rows(r[0]);
		decide_new(c, firsts, r[0]);
		pg_result_free(&r[0]);
	}
	if (rc == ERR_OK && inserted < firsts)
		rc = pg_writer_run(c->w, others, 2, r, why);
	if (rc == ERR_OK && inserted < firsts) {
		decide_new(c, firsts, r[0]);
		decide_known(c, firsts, r[1]);
	}
	pg_result_free(&r[0]);
	pg_result_free(&r[1]);
	columns_free(&columns);
	return rc;
}

static enum err
claim_all(struct claiming *c, struct wanted *scratch, struct writer_failure *why)
{
	enum err rc = ERR_OK;

	for (int round = 0; c->count > 0 && rc == ERR_OK; round++) {
		if (round == ROUNDS_MAX) {
			writer_failure_set(why, WRITER_BAD_MOMENT, "40001",
			    "keys come and go while they are claimed");
			return ERR_CONFLICT;
		}
		rc = claim_firsts(c, put_firsts_in_front(c, scratch), why);
		close_ranks(c);
	}
	return rc;
}

enum err
pg_writer_claim_keys(void *state, const struct event *events, size_t count, int64_t now_us,
    int64_t key_ttl_us, enum writer_claim *claims_out, struct writer_failure *why)
{
	struct pg_writer *w = state;
	struct claiming c = { .w = w,
		.count = count,
		.now_us = now_us,
		.key_ttl_us = key_ttl_us,
		.claims = claims_out };
	struct wanted *scratch;

	c.list = arena_alloc(&w->arena, (count + 1) * sizeof *c.list);
	scratch = arena_alloc(&w->arena, (count + 1) * sizeof *scratch);
	c.decided = arena_alloc(&w->arena, (count + 1) * sizeof *c.decided);
	if (c.list == NULL || scratch == NULL || c.decided == NULL)
		return writer_no_memory(why);
	for (size_t i = 0; i < count; i++) {
		c.list[i] = (struct wanted){ .event = &events[i], .index = i };
		event_id_text(events[i].id, c.list[i].id);
	}
	qsort(c.list, count, sizeof *c.list, compare_wanted);
	return claim_all(&c, scratch, why);
}

/*
 * What becomes of keys later.
 */

/* ${before_us} is what this consumer needs no more.  Another, of another host or partition, may be behind, and would apply
 * a duplicate again whose key is gone: so keys stay for as long as it may be behind. */
enum err
pg_writer_expire_keys(void *state, int64_t before_us, size_t max, struct writer_failure *why)
{
	const int64_t lag_us = OTHERS_LAG_HOURS * 3600ll * 1000000;
	struct pg_writer *w = state;
	char number[I64_BYTES];
	const struct pg_param params[] = { pg_moment_param(before_us - lag_us, &w->arena),
		{ .value = { number, i64_write((int64_t)max, number) }, .oid = PG_INT8 } };
	/* Those that another consumer forgets just now are its business. */
	const struct pg_statement s = { "weir",
		"DELETE FROM weir_keys WHERE ctid = ANY (ARRAY (SELECT ctid FROM weir_keys"
		" WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED))",
		params, 2 };
	struct pg_result *r = NULL;
	enum err rc;

	if (w->arena.overflowed)
		return writer_no_memory(why);
	rc = pg_writer_run(w, &s, 1, &r, why);
	pg_result_free(&r);
	return rc;
}

/* Two arrays of those whose rows are not one.  Returns how many. */
static size_t
list_rows(const struct writer_job *jobs, const int64_t *rows, size_t count, struct strbuf *ids,
    struct strbuf *numbers)
{
	char id[EVENT_ID_TEXT];
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if (rows[i] == 1)
			continue; /* as the claim wrote it */
		event_id_text(jobs[i].event->id, id);
		strbuf_addf(ids, "%c%s", n == 0 ? '{' : ',', id);
		strbuf_addf(numbers, "%c%lld", n == 0 ? '{' : ',', (long long)rows[i]);
		n++;
	}
	strbuf_add_char(ids, '}');
	strbuf_add_char(numbers, '}');
	return n;
}

enum err
pg_writer_note_rows(struct pg_writer *w, const struct writer_job *jobs, const int64_t *rows,
    size_t count, struct writer_failure *why)
{
	struct strbuf ids = STRBUF_INIT(ARRAY_BYTES_MAX), numbers = STRBUF_INIT(ARRAY_BYTES_MAX);
	struct pg_param params[2];
	const struct pg_statement s = { "weir",
		"UPDATE weir_keys AS k SET rows = u.rows"
		" FROM unnest($1::uuid[], $2::bigint[]) AS u (event_id, rows)"
		" WHERE k.event_id = u.event_id",
		params, 2 };
	struct pg_result *r = NULL;
	enum err rc = ERR_OK;

	if (list_rows(jobs, rows, count, &ids, &numbers) > 0) {
		params[0] = (struct pg_param){ .value = strbuf_slice(&ids) };
		params[1] = (struct pg_param){ .value = strbuf_slice(&numbers) };
		rc = ids.failed || numbers.failed ? writer_no_memory(why)
						  : pg_writer_run(w, &s, 1, &r, why);
	}
	pg_result_free(&r);
	strbuf_free(&ids);
	strbuf_free(&numbers);
	return rc;
}
