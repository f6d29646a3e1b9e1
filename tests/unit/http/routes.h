#ifndef TESTS_UNIT_HTTP_ROUTES_H
#define TESTS_UNIT_HTTP_ROUTES_H

#include "http/endpoint.h"

/*
 * Endpoints for tests, written as a route line: "GET /a/:x/b".  Only what the router and the binder
 * look at is filled in; parameters are numbered from 0 in order of the path.
 */
enum { ROUTE_SEGMENTS = 40 };

struct test_endpoint {
	struct endpoint endpoint;
	struct route_segment segments[ROUTE_SEGMENTS];
};

static inline void
route_parse(const char *line, struct test_endpoint *out)
{
	struct slice rest = slice_of(line);
	const struct slice method = slice_cut(&rest, ' ');
	int params = 0;

	*out = (struct test_endpoint){ .endpoint = { .route = rest, .segments = out->segments } };
	(void)http_method_parse(method, &out->endpoint.method);
	(void)slice_cut(&rest, '/');
	while (rest.len > 0 && out->endpoint.segment_count < ROUTE_SEGMENTS) {
		const struct slice s = slice_cut(&rest, '/');

		out->segments[out->endpoint.segment_count++] =
		    *s.ptr == ':' ? (struct route_segment){ .param = params++ }
				  : (struct route_segment){ .literal = s, .param = -1 };
	}
}

#endif
