/*
 * GET /status: which form, and its headers.
 *
 * The page is the same bytes for everybody, and all that it shows it asks for as `?json`; so an open page and
 * a script see the same.
 */
#include "runtime/status.h"

#include "base/arena.h"
#include "http/accept.h"
#include "http/response.h"
#include "runtime/snapshot.h"
#include "runtime/status_page.h"

enum { BODY_BYTES_MAX = 4 << 20 };

/* A name alone, or with any value: `?json`, `?json=1&full`. */
static bool
asks_for(struct slice query, const char *name)
{
	while (query.ptr != NULL) {
		struct slice part = slice_cut(&query, '&');

		if (slice_eq_cstr(slice_cut(&part, '='), name))
			return true;
	}
	return false;
}

enum status_form
status_form_of(struct slice query, struct slice accept, bool *full_out)
{
	*full_out = asks_for(query, "full");
	if (asks_for(query, "json"))
		return STATUS_JSON;
	if (asks_for(query, "html"))
		return STATUS_PAGE;
	if (asks_for(query, "text"))
		return STATUS_TEXT;
	if (accept_names(accept, "text/html"))
		return *full_out ? STATUS_TEXT : STATUS_PAGE;
	return accept_names(accept, "application/json") ? STATUS_JSON : STATUS_TEXT;
}

static enum err
answer_page(struct arena *a, struct response *out)
{
	response_header(out, a, "Content-Type", SLICE("text/html; charset=utf-8"));
	response_header(out, a, "Content-Security-Policy", slice_of(status_page_policy));
	response_header(out, a, "Referrer-Policy", SLICE("no-referrer"));
	out->body = status_page;
	return ERR_OK;
}

static enum err
answer_snapshot(
    const struct snapshot *s, bool json, bool full, struct arena *a, struct response *out)
{
	struct strbuf b = STRBUF_INIT(BODY_BYTES_MAX);

	(json ? snapshot_json : snapshot_text)(s, full, &b);
	response_header(out, a, "Content-Type",
	    json ? SLICE("application/json") : SLICE("text/plain; charset=utf-8"));
	out->body = b.failed ? (struct slice){ NULL, 0 } : arena_slice(a, strbuf_slice(&b));
	strbuf_free(&b);
	return out->body.ptr == NULL ? ERR_NOMEM : ERR_OK;
}

enum err
status_answer(const struct snapshot *s, enum status_form form, bool full, struct arena *a,
    struct response *out)
{
	enum err rc;

	out->status = 200;
	rc = form == STATUS_PAGE ? answer_page(a, out)
				 : answer_snapshot(s, form == STATUS_JSON, full, a, out);
	response_header(out, a, "Cache-Control", SLICE("no-store"));
	response_header(out, a, "X-Content-Type-Options", SLICE("nosniff"));
	response_header(out, a, "Vary", SLICE("Accept"));
	return a->overflowed ? ERR_NOMEM : rc;
}
