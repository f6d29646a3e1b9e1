/*
 * Dead letters: what the consumer could not apply, as people look at it and try it again; and what the key
 * table says of one event.
 *
 * Reading has a read-only connection of its own; only retry and drop write, in the consumer's place.
 */
#include "service/dead_letters.h"

#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "client/sqlite.h"
#include "http/endpoint.h"
#include "service/cache.h"
#include "service/catalog.h"
#include "service/event.h"
#include "service/writer.h"

/* SLICE() is no constant expression. */
#define TEXT(literal)                                                                              \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}

enum { DEADLINE_MS = 10000, LETTER_BYTES_MAX = 1 << 30 };

struct letter {
	int64_t id;
	struct slice event_id, record; /* all in the arena */
	struct slice tenant, endpoint, key, sqlstate, message, accepted_at, at;
};

static enum err
open_for_reads(const char *url, int64_t deadline_ms, struct sqlite **out)
{
	static const char scheme[] = "sqlite:";
	struct sqlite_options o = { .mode = SQLITE_FOR_READS, .deadline_ms = deadline_ms };

	*out = NULL;
	if (strncmp(url, scheme, sizeof scheme - 1) != 0)
		return ERR_INVALID;
	o.path = url + sizeof scheme - 1;
	return sqlite_open(&o, out, NULL);
}

/* ERR_OK: ${id} is 16 bytes, or absent for all. */
static enum err
parse_id(struct slice text, uint8_t bytes[EVENT_ID_BYTES], struct slice *out)
{
	*out = (struct slice){ 0 };
	if (text.ptr == NULL)
		return ERR_OK;
	*out = (struct slice){ (const char *)bytes, EVENT_ID_BYTES };
	return event_id_parse(text, bytes);
}

static struct slice
cell_bytes(struct sqlite_statement *s, int column, struct arena *a)
{
	const struct slice bytes = sqlite_cell(s, column).bytes;

	return arena_slice(a, bytes.ptr != NULL ? bytes : SLICE(""));
}

/* Fit for a terminal and for JSON: a message may quote what a client sent, and is cut at 255 bytes. */
static struct slice
cell_text(struct sqlite_statement *s, int column, struct arena *a)
{
	struct slice left = sqlite_cell(s, column).bytes;
	char *text = arena_copy(a, left);
	const struct slice all = { text, text == NULL ? 0 : left.len };

	while (text != NULL && left.len > 0) {
		const size_t n = utf8_first(left);
		const bool good = n > 1 || (n == 1 && *left.ptr >= ' ' && *left.ptr != 0x7f);
		const size_t step = n > 0 ? n : 1;

		if (!good)
			memset(text, '?', step);
		text += step;
		left.ptr += step;
		left.len -= step;
	}
	return all;
}

/* The first letter after ${after}.  ERR_NOT_FOUND: there is none. */
static enum err
next_letter(
    struct sqlite *db, int64_t after, struct slice event_id, struct arena *a, struct letter *out)
{
	static const struct slice sql = TEXT(
	    "SELECT id, event_id, tenant, endpoint, key, sqlstate, message, record, accepted_at, at"
	    " FROM weir_dead_letters WHERE id > ?1 AND (?2 IS NULL OR event_id = ?2) ORDER BY id "
	    "LIMIT 1");
	struct sqlite_statement *s = NULL;
	bool row = false;
	enum err rc = sqlite_take(db, SLICE("weir"), sql, &s);

	if (rc == ERR_OK) {
		sqlite_bind_integer(s, 1, after);
		if (event_id.ptr != NULL)
			sqlite_bind_blob(s, 2, event_id);
		rc = sqlite_step(s, &row);
	}
	if (rc == ERR_OK && row)
		*out = (struct letter){ .id = sqlite_cell(s, 0).integer,
			.event_id = cell_bytes(s, 1, a),
			.tenant = cell_text(s, 2, a),
			.endpoint = cell_text(s, 3, a),
			.key = cell_text(s, 4, a),
			.sqlstate = cell_text(s, 5, a),
			.message = cell_text(s, 6, a),
			.record = cell_bytes(s, 7, a),
			.accepted_at = cell_text(s, 8, a),
			.at = cell_text(s, 9, a) };
	sqlite_give(&s);
	if (rc != ERR_OK)
		return rc;
	if (a->overflowed)
		return ERR_NOMEM;
	return row ? ERR_OK : ERR_NOT_FOUND;
}

typedef enum err letter_fn(void *ctx, const struct letter *l, struct arena *a);

/* All letters, or those of one event.  ERR_NOT_FOUND: that event has none. */
static enum err
each_letter(const char *url, struct slice id_text, letter_fn *fn, void *ctx)
{
	uint8_t bytes[EVENT_ID_BYTES];
	struct letter l = { .id = 0 };
	struct slice id;
	struct sqlite *db = NULL;
	struct arena a;
	bool any = false;
	enum err rc = parse_id(id_text, bytes, &id);

	arena_init(&a, LETTER_BYTES_MAX);
	if (rc == ERR_OK)
		rc = open_for_reads(url, clock_mono_ms() + DEADLINE_MS, &db);
	while (rc == ERR_OK) {
		arena_reset(&a);
		sqlite_deadline(db, clock_mono_ms() + DEADLINE_MS);
		rc = next_letter(db, l.id, id, &a, &l);
		if (rc == ERR_OK) {
			any = true;
			rc = fn(ctx, &l, &a);
		}
	}
	sqlite_close(&db);
	arena_free(&a);
	return rc == ERR_NOT_FOUND && (any || id.ptr == NULL) ? ERR_OK : rc;
}

static void
add_id(struct strbuf *out, const struct letter *l)
{
	char text[EVENT_ID_TEXT] = "?";

	if (l->event_id.len == EVENT_ID_BYTES)
		event_id_text((const uint8_t *)l->event_id.ptr, text);
	strbuf_add_cstr(out, text);
}

static void
add_member(struct strbuf *out, const char *name, struct slice value)
{
	strbuf_addf(out, ",\"%s\":", name);
	strbuf_add_json(out, value);
}

static void
add_json_line(struct strbuf *out, const struct letter *l)
{
	strbuf_add_cstr(out, "{\"eventId\":\"");
	add_id(out, l);
	strbuf_add_char(out, '"');
	add_member(out, "endpoint", l->endpoint);
	add_member(out, "tenant", l->tenant);
	add_member(out, "key", l->key);
	add_member(out, "sqlstate", l->sqlstate);
	add_member(out, "message", l->message);
	add_member(out, "acceptedAt", l->accepted_at);
	add_member(out, "failedAt", l->at);
	strbuf_add_cstr(out, "}\n");
}

static enum err
list_json(void *ctx, const struct letter *l, struct arena *a)
{
	(void)a;
	add_json_line(ctx, l);
	return ERR_OK;
}

static enum err
list_text(void *ctx, const struct letter *l, struct arena *a)
{
	struct strbuf *out = ctx;

	(void)a;
	if (out->len == 0)
		strbuf_addf(out, "%-36s  %-27s  %-8s  %-16s  %s\n", "EVENT", "FAILED AT",
		    "SQLSTATE", "ENDPOINT", "MESSAGE");
	add_id(out, l);
	strbuf_addf(out, "  %-27.*s  %-8.*s  %-16.*s  %.*s\n", (int)l->at.len, l->at.ptr,
	    (int)l->sqlstate.len, l->sqlstate.ptr, (int)l->endpoint.len, l->endpoint.ptr,
	    (int)l->message.len, l->message.ptr);
	return ERR_OK;
}

enum err
dead_letters_list(const char *url, bool json, struct strbuf *out)
{
	return each_letter(url, (struct slice){ 0 }, json ? list_json : list_text, out);
}

static void
add_param(struct strbuf *out, const struct event_param *p)
{
	strbuf_add_cstr(out, "  ");
	strbuf_add_slice(out, p->name);
	strbuf_addf(out, " (%s): ", value_type_name(p->value.type));
	if (p->value.null)
		strbuf_add_cstr(out, "null");
	else
		strbuf_add_json(out, p->value.text);
	strbuf_add_char(out, '\n');
}

static void
add_line(struct strbuf *out, const char *name, struct slice value)
{
	strbuf_addf(out, "%-9s %.*s\n", name, (int)value.len, value.ptr);
}

static enum err
show_text(void *ctx, const struct letter *l, struct arena *a)
{
	struct strbuf *out = ctx;
	struct event ev;

	strbuf_add_cstr(out, "event     ");
	add_id(out, l);
	strbuf_add_char(out, '\n');
	add_line(out, "endpoint", l->endpoint);
	add_line(out, "tenant", l->tenant);
	add_line(out, "key", l->key);
	add_line(out, "sqlstate", l->sqlstate);
	add_line(out, "message", l->message);
	add_line(out, "accepted", l->accepted_at);
	add_line(out, "failed", l->at);
	strbuf_add_cstr(out, "parameters\n");
	if (event_decode(l->record, a, &ev) != ERR_OK) {
		strbuf_add_cstr(out, "  (a record of another version)\n");
		return ERR_OK;
	}
	for (size_t i = 0; i < ev.param_count; i++)
		add_param(out, &ev.params[i]);
	return ERR_OK;
}

enum err
dead_letters_show(const char *url, struct slice event_id, struct strbuf *out)
{
	return each_letter(url, event_id, show_text, out);
}

/*
 * Trying again.
 */
struct retry {
	struct writer *w;
	const struct catalog *catalog;
	struct cache *cache;
	dead_letters_progress_fn *progress;
	void *ctx;
	uint64_t total, done, failed;
};

static enum err
count_letter(void *ctx, const struct letter *l, struct arena *a)
{
	(void)l;
	(void)a;
	++*(uint64_t *)ctx;
	return ERR_OK;
}

static enum err
apply_letter(struct retry *r, int64_t letter_id, const struct endpoint *e, const struct event *ev,
    struct writer_failure *why)
{
	const int64_t now_us = clock_wall_us();
	int64_t rows = 0;
	enum err rc = writer_begin(r->w, why);

	if (rc == ERR_OK)
		rc = writer_revive(r->w, ev, now_us, why);
	if (rc == ERR_OK)
		rc = writer_apply(r->w, e, ev, now_us, &rows, why);
	if (rc == ERR_OK)
		rc = writer_mark(r->w, ev, rows, why);
	if (rc == ERR_OK)
		rc = writer_drop_letter(r->w, letter_id, why);
	if (rc == ERR_OK)
		rc = writer_commit(r->w, why);
	if (rc != ERR_OK)
		writer_rollback(r->w);
	return rc;
}

static void
purge_letter(struct retry *r, const struct endpoint *e, const struct event *ev, struct arena *a)
{
	struct value *values;

	if (r->cache == NULL)
		return;
	values = arena_alloc(a, (e->param_count + 1) * sizeof *values);
	if (values == NULL || event_values(e, ev, values) != ERR_OK)
		cache_purge_all(r->cache);
	else
		(void)cache_purge_event(r->cache, e, values, a);
	(void)cache_purge_send(r->cache); /* what cannot be told is owed */
}

static bool
revive(struct retry *r, const struct letter *l, struct arena *a, struct writer_failure *why)
{
	const struct endpoint *e;
	struct event ev;

	if (event_decode(l->record, a, &ev) != ERR_OK) {
		writer_failure_set(
		    why, WRITER_BAD_DEPLOYMENT, "0A000", "a record of another version");
		return false;
	}
	e = catalog_find(r->catalog, ev.endpoint);
	if (e == NULL || !http_method_writes(e->method)) {
		writer_failure_set(why, WRITER_BAD_DEPLOYMENT, "42000",
		    "there is no endpoint file of this name for a write");
		return false;
	}
	if (apply_letter(r, l->id, e, &ev, why) != ERR_OK)
		return false;
	purge_letter(r, e, &ev, a);
	return true;
}

static enum err
retry_letter(void *ctx, const struct letter *l, struct arena *a)
{
	struct retry *r = ctx;
	struct writer_failure why;

	if (revive(r, l, a, &why)) {
		r->done++;
	} else {
		r->failed++;
		log_warn("dead_letter_failed_again", LOG_SLICE("endpoint", l->endpoint),
		    LOG_SLICE("key", l->key), LOG_STR("sqlstate", why.sqlstate),
		    LOG_STR("reason", why.message));
	}
	if (r->progress != NULL)
		r->progress(r->ctx, r->done + r->failed, r->total, r->failed);
	return ERR_OK;
}

static enum err
said(enum err rc, const struct writer_failure *why)
{
	if (rc != ERR_OK)
		log_warn("dead_letters_failed", LOG_STR("sqlstate", why->sqlstate),
		    LOG_STR("reason", why->message));
	return rc;
}

enum err
dead_letters_retry(const char *url, const struct catalog *c, struct cache *cache,
    struct slice event_id, dead_letters_progress_fn *progress, void *ctx, uint64_t *done_out,
    uint64_t *failed_out)
{
	struct retry r = { .catalog = c, .cache = cache, .progress = progress, .ctx = ctx };
	struct writer_failure why;
	enum err rc = each_letter(url, event_id, count_letter, &r.total);

	if (rc == ERR_OK)
		rc = said(writer_open(url, &r.w, &why), &why);
	if (rc == ERR_OK)
		rc = each_letter(url, event_id, retry_letter, &r);
	writer_close(&r.w);
	*done_out = r.done;
	*failed_out = r.failed;
	return rc;
}

enum err
dead_letters_drop(const char *url, struct slice event_id, uint64_t *dropped_out)
{
	uint8_t bytes[EVENT_ID_BYTES];
	struct writer_failure why;
	struct writer *w = NULL;
	struct slice id;
	enum err rc = parse_id(event_id, bytes, &id);

	*dropped_out = 0;
	if (rc == ERR_OK)
		rc = said(writer_open(url, &w, &why), &why);
	if (rc == ERR_OK)
		rc = said(
		    writer_drop_letters(w, id.ptr == NULL ? NULL : bytes, dropped_out, &why), &why);
	writer_close(&w);
	return rc == ERR_OK && *dropped_out == 0 && id.ptr != NULL ? ERR_NOT_FOUND : rc;
}

enum err
operation_find(const char *url, const uint8_t *event_id, int64_t deadline_ms, struct arena *a,
    struct operation *out)
{
	static const struct slice sql = TEXT(
	    "SELECT tenant, state, reason, rows, CAST(strftime('%s', substr(at, 1, 19)) AS INTEGER)"
	    " * 1000000 + CAST(substr(at, 21, 6) AS INTEGER) FROM weir_keys WHERE event_id = ?1");
	struct sqlite_statement *s = NULL;
	struct sqlite *db = NULL;
	bool row = false;
	enum err rc = open_for_reads(url, deadline_ms, &db);

	if (rc == ERR_OK)
		rc = sqlite_take(db, SLICE("weir"), sql, &s);
	if (rc == ERR_OK) {
		sqlite_bind_blob(s, 1, (struct slice){ (const char *)event_id, EVENT_ID_BYTES });
		rc = sqlite_step(s, &row);
	}
	if (rc == ERR_OK && row)
		*out = (struct operation){ .tenant = cell_bytes(s, 0, a), /* to be compared */
			.state = cell_text(s, 1, a),
			.reason = cell_text(s, 2, a),
			.rows = sqlite_cell(s, 3).integer,
			.at_us = sqlite_cell(s, 4).integer };
	sqlite_give(&s);
	sqlite_close(&db);
	if (rc != ERR_OK || a->overflowed)
		return ERR_UNAVAILABLE;
	return row ? ERR_OK : ERR_NOT_FOUND;
}
