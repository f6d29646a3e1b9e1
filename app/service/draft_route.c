/*
 * The route: the first line of an endpoint file.
 *
 * Stricter than a request's path: what needs an escape in a URL does not stand
 * in a route, so that one path is written in one way.
 */
#include <string.h>

#include "service/draft.h"

bool
draft_is_route_name(const struct draft *d, struct slice name)
{
	for (size_t i = 0; i < d->route_name_count; i++)
		if (slice_eq(d->route_names[i], name))
			return true;
	return false;
}

/* RFC 3986's unreserved characters and sub-delims: what needs no escape in a path. */
static bool
is_path_text(struct slice s)
{
	static const char marks[] = "-._~!$&'()*+,;=@";

	for (size_t i = 0; i < s.len; i++) {
		const char c = s.ptr[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    (c == '\0' || strchr(marks, c) == NULL))
			return false;
	}
	return s.len > 0 && !slice_eq_cstr(s, ".") && !slice_eq_cstr(s, "..");
}

static bool
route_parameter(struct draft *d, struct slice name)
{
	for (size_t i = 0; i < d->route_name_count; i++) {
		if (slice_eq(d->route_names[i], name)) {
			DRAFT_FAULT(
			    d, "route: \":%.*s\" twice, expected different names", SHOWN(name));
			return false;
		}
	}
	if (!directive_is_name(name, "")) {
		DRAFT_FAULT(d, "route: \":%.*s\", expected a parameter such as :id", SHOWN(name));
		return false;
	}
	d->route_names[d->route_name_count++] = name;
	return true;
}

static bool
route_segment(struct draft *d, struct slice text)
{
	struct route_segment *s = &d->e->segments[d->e->segment_count++];

	if (text.len > 0 && *text.ptr == ':') {
		s->param = (int)d->route_name_count;
		return route_parameter(d, draft_part(text, 1, text.len));
	}
	*s = (struct route_segment){ .literal = text, .param = -1 };
	if (is_path_text(text))
		return true;
	DRAFT_FAULT(d, "route: segment \"%.*s\", expected :name, or letters, digits and -._~ only",
	    SHOWN(text));
	return false;
}

/* These belong to the admin socket: a worker would never answer them. */
static bool
is_admin_path(struct slice path)
{
	static const char *const paths[] = { "/live", "/ready", "/status", "/metrics", NULL };

	for (size_t i = 0; paths[i] != NULL; i++)
		if (slice_eq_cstr(path, paths[i]))
			return true;
	return false;
}

static bool
read_path(struct draft *d, struct slice path)
{
	struct slice rest = path;
	bool good = true;

	if (is_admin_path(path)) {
		DRAFT_FAULT(d, "route: %.*s belongs to the admin socket, expected another path",
		    SHOWN(path));
		return false;
	}
	d->e->route = path;
	d->e->segments = arena_alloc(d->arena, ROUTER_MAX_SEGMENTS * sizeof *d->e->segments);
	(void)slice_cut(&rest, '/'); /* what is before the leading slash: nothing */
	while (rest.len > 0 || (rest.ptr != NULL && path.len > 1)) {
		if (d->e->segments == NULL || d->e->segment_count == ROUTER_MAX_SEGMENTS) {
			DRAFT_FAULT(
			    d, "route: more than %d segments, expected fewer", ROUTER_MAX_SEGMENTS);
			return false;
		}
		good = route_segment(d, slice_cut(&rest, '/')) && good;
	}
	return good;
}

bool
draft_route(struct draft *d, struct slice text)
{
	struct slice rest = text;
	const struct slice method = slice_cut(&rest, ' ');
	const struct slice path = slice_trim(rest);

	if (!http_method_parse(method, &d->e->method) || d->e->method == HTTP_HEAD ||
	    d->e->method == HTTP_OPTIONS || path.len == 0 || *path.ptr != '/' ||
	    memchr(path.ptr, ' ', path.len) != NULL) {
		DRAFT_FAULT(d,
		    "\"%.*s\", expected the route, `-- METHOD /path` with GET, POST, PUT, PATCH or "
		    "DELETE",
		    SHOWN(text));
		d->e->method = HTTP_GET;
		return false;
	}
	return read_path(d, path);
}
