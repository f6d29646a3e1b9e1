/*
 * What pages of other origins are told (Fetch standard, CORS).
 *
 * Headers are added to a finished answer and never stored, so that no copy
 * carries one origin's permission to another.  An origin that may not is
 * answered like a caller without one: it is the browser that keeps the answer
 * from the page.
 */
#include "pipeline/pipeline.h"
#include "pipeline/step.h"

enum { ORIGIN_BYTES_MAX = 255, METHOD_BYTES_MAX = 16 };

/* Of what weir answers, all that a page could not read without being told so. */
static const char exposed[] =
    "ETag, Age, Allow, Cache-Status, Idempotent-Replayed, Location, RateLimit, RateLimit-Policy, "
    "Retry-After, Server-Timing, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "X-Request-Id, X-Weir-Pending";

bool
cors_varies(const struct endpoint *e)
{
	return e->cors != NULL && !e->cors->any;
}

static struct slice
origin_of(struct exchange *x)
{
	struct slice origin;

	/* Two lines, or a page of text, are nobody's origin. */
	return request_header(
		   x->envp, SLICE("HTTP_ORIGIN"), ORIGIN_BYTES_MAX, &x->arena, &origin) == ERR_OK
		   ? origin
		   : (struct slice){ 0 };
}

/* What ${origin} is answered as Access-Control-Allow-Origin; absent: it may not. */
static struct slice
permission(const struct cors_rule *c, struct slice origin)
{
	if (c == NULL)
		return (struct slice){ 0 };
	if (c->any)
		return SLICE("*");
	for (size_t i = 0; origin.len > 0 && i < c->origin_count; i++)
		if (slice_eq(c->origins[i], origin))
			return c->origins[i];
	return (struct slice){ 0 };
}

static void
permit(struct exchange *x, const struct cors_rule *c, struct slice permitted)
{
	response_header(&x->response, &x->arena, "Access-Control-Allow-Origin", permitted);
	if (c->credentials)
		response_header(
		    &x->response, &x->arena, "Access-Control-Allow-Credentials", SLICE("true"));
}

void
cors_complete(struct exchange *x)
{
	const struct cors_rule *c = x->endpoint->cors;
	struct slice permitted;

	if (c == NULL)
		return;
	/* Also when there is no Origin: the next one to ask a shared cache may have one. */
	if (!c->any && response_find(&x->response, "Vary").ptr == NULL)
		response_header(&x->response, &x->arena, "Vary", SLICE("Origin"));
	permitted = permission(c, origin_of(x));
	if (permitted.ptr == NULL)
		return;
	permit(x, c, permitted);
	response_header(
	    &x->response, &x->arena, "Access-Control-Expose-Headers", slice_of(exposed));
}

/* The endpoint behind ${m} on the path that was matched. */
static const struct endpoint *
sibling(struct exchange *x, enum http_method m)
{
	struct route_match found;

	return route_match(x, m, &found) == ERR_OK ? found.endpoint : NULL;
}

/* Bits of the path's methods that ${origin} may use; of one file each. */
static unsigned
permitted_methods(struct exchange *x, struct slice origin)
{
	unsigned methods = 0;

	for (enum http_method m = HTTP_GET; m < HTTP_METHOD__COUNT; m++) {
		const struct endpoint *e = NULL;

		if (m != HTTP_OPTIONS && (x->route->allow & 1u << m) != 0)
			e = sibling(x, m);
		if (e != NULL && permission(e->cors, origin).ptr != NULL)
			methods |= 1u << m;
	}
	return methods;
}

void
cors_preflight(struct exchange *x)
{
	struct response *r = &x->response;
	const struct slice origin = origin_of(x);
	const struct endpoint *e = NULL;
	struct slice wanted = { 0 };
	enum http_method m;

	if (origin.len > 0 &&
	    request_header(x->envp, SLICE("HTTP_ACCESS_CONTROL_REQUEST_METHOD"), METHOD_BYTES_MAX,
		&x->arena, &wanted) == ERR_OK &&
	    http_method_parse(wanted, &m) && m != HTTP_OPTIONS)
		e = sibling(x, m);
	if (e == NULL || e->cors == NULL)
		return;
	response_header(r, &x->arena, "Vary", SLICE("Origin, Access-Control-Request-Method"));
	if (permission(e->cors, origin).ptr == NULL)
		return;
	permit(x, e->cors, permission(e->cors, origin));
	response_header(r, &x->arena, "Access-Control-Allow-Methods",
	    slice_of(router_allow(permitted_methods(x, origin), &x->arena)));
	response_header(r, &x->arena, "Access-Control-Allow-Headers", e->cors->headers);
	response_header(r, &x->arena, "Access-Control-Max-Age", e->cors->max_age);
}
