/*
 * `cors:`: which pages of other sites may use an endpoint.
 *
 * What can be told beforehand is put together here, so that an answer only
 * compares origins.  A list that looks right but can never match what a browser
 * sends (a path, a capital, a default port) is a fault, not a surprise.
 */
#include "service/draft.h"
#include "service/front_matter.h"

#include <inttypes.h>
#include <string.h>

/*
 * What weir itself reads and a browser asks leave for.  Named one by one: `*` would not cover Authorization.
 */
static const char own_headers[] =
    "Authorization, Content-Type, Idempotency-Key, If-None-Match, traceparent, tracestate, "
    "X-API-Key, X-Weir-Consistency";

static const int64_t default_age_ms = 10 * 60 * 1000, longest_age_ms = 24 * 3600 * 1000;

enum { HEADERS_BYTES_MAX = 2048 };

/* One line while it is read. */
struct cors_line {
	struct draft *d;
	struct cors_rule *rule;
	struct strbuf headers;
	int64_t age_ms; /* 0: not said */
};

static bool
is_host_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
	       c == ':' || c == '[' || c == ']';
}

static bool
ends_with(struct slice s, const char *end)
{
	const size_t n = strlen(end);

	return s.len > n && memcmp(s.ptr + s.len - n, end, n) == 0;
}

/* As browsers write it (RFC 6454 §6.2): scheme, host, and a port only where it is not the scheme's own. */
static bool
is_origin(struct slice s)
{
	const bool tls = slice_starts(s, "https://");
	const size_t scheme = tls ? strlen("https://") : strlen("http://");

	if ((!tls && !slice_starts(s, "http://")) || s.len == scheme || s.len > 255)
		return false;
	for (size_t i = scheme; i < s.len; i++)
		if (!is_host_byte(s.ptr[i]))
			return false;
	return s.ptr[s.len - 1] != ':' && !ends_with(s, tls ? ":443" : ":80");
}

static void
add_origin(struct cors_line *l, struct slice origin)
{
	struct cors_rule *r = l->rule;
	struct draft *d = l->d;

	if (slice_eq_cstr(origin, "*")) {
		r->any = true;
		return;
	}
	if (!is_origin(origin)) {
		DRAFT_FAULT(d,
		    "cors: \"%.*s\", expected *, an origin as browsers send it "
		    "(https://app.example.com: "
		    "lower case, no path, no default port), headers NAME, max-age DURATION or "
		    "credentials",
		    SHOWN(origin));
		return;
	}
	if (r->origin_count == ENDPOINT_MAX_ORIGINS) {
		DRAFT_FAULT(d, "cors: %.*s is one too many, expected at most %d origins",
		    SHOWN(origin), ENDPOINT_MAX_ORIGINS);
		return;
	}
	r->origins[r->origin_count++] = origin;
}

static void
add_headers(struct cors_line *l, struct slice names)
{
	while (names.ptr != NULL) {
		const struct slice name = slice_trim(slice_cut(&names, ' '));

		if (name.len == 0)
			continue;
		if (!directive_is_name(name, "-"))
			DRAFT_FAULT(l->d,
			    "cors: headers \"%.*s\", expected the names of headers, separated by "
			    "blanks",
			    SHOWN(name));
		strbuf_add_cstr(&l->headers, ", ");
		strbuf_add_slice(&l->headers, name);
	}
}

static void
read_item(struct cors_line *l, struct slice item)
{
	const struct slice headers = directive_after_word(item, "headers");
	const struct slice age = directive_after_word(item, "max-age");

	if (slice_eq_cstr(item, "credentials"))
		l->rule->credentials = true;
	else if (headers.ptr != NULL)
		add_headers(l, headers);
	else if (age.ptr != NULL)
		(void)directive_duration(l->d, age, "cors: max-age", longest_age_ms, &l->age_ms);
	else
		add_origin(l, item);
}

/* What the items say together. */
static void
judge(struct draft *d, const struct cors_rule *r)
{
	if (r->any && r->credentials)
		DRAFT_FAULT(d, "cors: * with credentials, expected the origins that may use them "
			       "(browsers refuse the two together)");
	if (r->any && r->origin_count > 0)
		DRAFT_FAULT(d, "cors: * beside an origin, expected one or the other");
	if (!r->any && r->origin_count == 0)
		DRAFT_FAULT(d, "cors: no origin, expected * or https://app.example.com");
}

void
directive_cors(struct draft *d)
{
	struct cors_line l = { .d = d, .headers = STRBUF_INIT(HEADERS_BYTES_MAX), .age_ms = 0 };
	struct slice rest = d->value;

	l.rule = arena_alloc(d->arena, sizeof *l.rule);
	if (l.rule != NULL)
		l.rule->origins =
		    arena_alloc(d->arena, ENDPOINT_MAX_ORIGINS * sizeof *l.rule->origins);
	if (l.rule == NULL || l.rule->origins == NULL)
		return; /* the arena remembers */
	strbuf_add_cstr(&l.headers, own_headers);
	while (rest.ptr != NULL)
		read_item(&l, slice_trim(slice_cut(&rest, ',')));
	judge(d, l.rule);
	if (l.headers.failed)
		DRAFT_FAULT(d, "cors: headers, expected names of %d bytes together at most",
		    HEADERS_BYTES_MAX);
	else
		l.rule->headers = arena_slice(d->arena, strbuf_slice(&l.headers));
	strbuf_free(&l.headers);
	l.rule->max_age = slice_of(
	    arena_printf(d->arena, "%" PRId64, (l.age_ms > 0 ? l.age_ms : default_age_ms) / 1000));
	d->e->cors = l.rule;
}

static bool
knows_origin(const struct cors_rule *r, struct slice origin)
{
	for (size_t i = 0; i < r->origin_count; i++)
		if (slice_eq(r->origins[i], origin))
			return true;
	return false;
}

/* What ${one} allows, ${all} allows too.  ${one} may be of a file with faults, and then have no headers. */
static void
merge(struct cors_rule *all, const struct cors_rule *one, struct strbuf *headers)
{
	const size_t own = sizeof own_headers - 1;

	all->any = all->any || one->any;
	all->credentials = all->credentials && one->credentials;
	for (size_t i = 0; i < one->origin_count; i++)
		if (!knows_origin(all, one->origins[i]))
			all->origins[all->origin_count++] = one->origins[i];
	if (one->headers.len > own)
		strbuf_add_slice(headers, draft_part(one->headers, own, one->headers.len));
}

static bool
is_open_write(const struct endpoint *e)
{
	return http_method_writes(e->method) && e->cors != NULL;
}

const struct cors_rule *
front_matter_cors_of_writes(const struct endpoint *const *list, size_t count, struct arena *a)
{
	struct strbuf headers = STRBUF_INIT(HEADERS_BYTES_MAX);
	struct cors_rule *all = arena_alloc(a, sizeof *all);
	size_t writes = 0, origins = 0;

	for (size_t i = 0; i < count; i++) {
		writes += is_open_write(list[i]);
		origins += is_open_write(list[i]) ? list[i]->cors->origin_count : 0;
	}
	if (all == NULL || writes == 0)
		return NULL;
	*all = (struct cors_rule){ .credentials = true,
		.origins = arena_alloc(a, (origins + 1) * sizeof *all->origins),
		.max_age = slice_of(arena_printf(a, "%" PRId64, default_age_ms / 1000)) };
	strbuf_add_cstr(&headers, own_headers);
	for (size_t i = 0; i < count && all->origins != NULL; i++)
		if (is_open_write(list[i]))
			merge(all, list[i]->cors, &headers);
	all->headers =
	    headers.failed ? slice_of(own_headers) : arena_slice(a, strbuf_slice(&headers));
	strbuf_free(&headers);
	return all;
}
