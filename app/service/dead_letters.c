/*
 * Dead letters: what the consumer could not apply, as people look at it and try it again.
 *
 * Looking goes through the ledger, which cannot write; only retry and drop write, in the consumer's place.
 */
#include "service/dead_letters.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/json_write.h"
#include "base/log.h"
#include "http/endpoint.h"
#include "service/cache.h"
#include "service/catalog.h"
#include "service/event.h"
#include "service/ledger.h"
#include "service/writer.h"

enum { DEADLINE_MS = 10000, LETTER_BYTES_MAX = 1 << 30 };

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

typedef enum err letter_fn(void *ctx, const struct letter *l, struct arena *a);

/* All letters, or those of one event.  ERR_NOT_FOUND: that event has none. */
static enum err
each_letter(const struct writer_options *db, struct slice id_text, letter_fn *fn, void *ctx)
{
	uint8_t bytes[EVENT_ID_BYTES];
	struct letter l = { .id = 0 };
	struct slice id;
	struct ledger *ledger = NULL;
	struct arena a;
	bool any = false;
	enum err rc = parse_id(id_text, bytes, &id);

	arena_init(&a, LETTER_BYTES_MAX);
	if (rc == ERR_OK)
		rc = ledger_open(db, 1, &ledger);
	while (rc == ERR_OK) {
		arena_reset(&a);
		rc = ledger_letter(ledger, l.id, id, clock_mono_ms() + DEADLINE_MS, &a, &l);
		if (rc == ERR_OK) {
			any = true;
			rc = fn(ctx, &l, &a);
		}
	}
	ledger_close(&ledger);
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
add_json_line(struct strbuf *out, const struct letter *l)
{
	json_write_open(out, NULL, '{');
	json_write_key(out, "eventId");
	strbuf_add_char(out, '"');
	add_id(out, l);
	strbuf_add_char(out, '"');
	json_write_text(out, "endpoint", l->endpoint);
	json_write_text(out, "tenant", l->tenant);
	json_write_text(out, "key", l->key);
	json_write_text(out, "sqlstate", l->sqlstate);
	json_write_text(out, "message", l->message);
	json_write_text(out, "acceptedAt", l->accepted_at);
	json_write_text(out, "failedAt", l->at);
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
dead_letters_list(const struct writer_options *db, bool json, struct strbuf *out)
{
	return each_letter(db, (struct slice){ 0 }, json ? list_json : list_text, out);
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
dead_letters_show(const struct writer_options *db, struct slice event_id, struct strbuf *out)
{
	return each_letter(db, event_id, show_text, out);
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
    uint64_t *position_out, struct writer_failure *why)
{
	const struct writer_job job = { e, ev };
	const int64_t now_us = clock_wall_us();
	size_t done;
	enum err rc = writer_begin(r->w, why);

	if (rc == ERR_OK)
		rc = writer_revive(r->w, ev, now_us, why);
	if (rc == ERR_OK)
		rc = writer_apply(r->w, &job, 1, now_us, INT64_MAX, &done, why);
	if (rc == ERR_OK)
		rc = writer_drop_letter(r->w, letter_id, why);
	if (rc == ERR_OK)
		rc = writer_commit(r->w, position_out, why);
	if (rc != ERR_OK)
		writer_rollback(r->w);
	return rc;
}

static void
purge_letter(struct retry *r, const struct endpoint *e, const struct event *ev, uint64_t position,
    struct arena *a)
{
	struct value *values;

	if (r->cache == NULL)
		return;
	values = arena_alloc(a, (e->param_count + 1) * sizeof *values);
	if (values == NULL || event_values(e, ev, values) != ERR_OK)
		cache_purge_all(r->cache, position);
	else
		(void)cache_purge_event(r->cache, e, values, position, a);
	(void)cache_purge_send(r->cache); /* what cannot be told is owed */
}

static bool
revive(struct retry *r, const struct letter *l, struct arena *a, struct writer_failure *why)
{
	const struct endpoint *e;
	struct event ev;
	uint64_t position;

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
	if (apply_letter(r, l->id, e, &ev, &position, why) != ERR_OK)
		return false;
	purge_letter(r, e, &ev, position, a);
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
dead_letters_retry(const struct writer_options *db, const struct catalog *c, struct cache *cache,
    struct slice event_id, dead_letters_progress_fn *progress, void *ctx, uint64_t *done_out,
    uint64_t *failed_out)
{
	struct retry r = { .catalog = c, .cache = cache, .progress = progress, .ctx = ctx };
	struct writer_failure why;
	enum err rc = each_letter(db, event_id, count_letter, &r.total);

	if (rc == ERR_OK)
		rc = said(writer_open(db, &r.w, &why), &why);
	if (rc == ERR_OK)
		rc = each_letter(db, event_id, retry_letter, &r);
	writer_close(&r.w);
	*done_out = r.done;
	*failed_out = r.failed;
	return rc;
}

enum err
dead_letters_drop(const struct writer_options *db, struct slice event_id, uint64_t *dropped_out)
{
	uint8_t bytes[EVENT_ID_BYTES];
	struct writer_failure why;
	struct writer *w = NULL;
	struct slice id;
	enum err rc = parse_id(event_id, bytes, &id);

	*dropped_out = 0;
	if (rc == ERR_OK)
		rc = said(writer_open(db, &w, &why), &why);
	if (rc == ERR_OK)
		rc = said(
		    writer_drop_letters(w, id.ptr == NULL ? NULL : bytes, dropped_out, &why), &why);
	writer_close(&w);
	return rc == ERR_OK && *dropped_out == 0 && id.ptr != NULL ? ERR_NOT_FOUND : rc;
}
