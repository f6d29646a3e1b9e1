#ifndef HTTP_ROUTER_H
#define HTTP_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "http/endpoint.h"

/*
 * Raw path to endpoint.  Immutable after router_build(); a match costs one walk down a tree of
 * segments (hash of the literal child, then the parameter child) and no allocation but the decoded
 * segments, in the arena.
 */
struct router;

/* Two endpoints that can match the same method and path collide (a literal beats a parameter, so
 * /a/:x and /a/b do not).  ERR_CONFLICT: *${first_out} and *${second_out}. */
enum err router_build(const struct endpoint *const *endpoints, size_t count, struct router **out,
    const struct endpoint **first_out, const struct endpoint **second_out);
void router_free(struct router **rp);

enum { ROUTER_MAX_SEGMENTS = 32 };

struct route_match {
	const struct endpoint *endpoint;	   /* for HEAD: the GET one */
	struct slice decoded[ROUTER_MAX_SEGMENTS]; /* each segment, percent-decoded once */
	size_t segment_count;
	unsigned
	    allow; /* bit per http_method that the path knows by any of its routes; GET brings HEAD,
			    any brings OPTIONS */
	const char *why; /* ERR_INVALID: constant text, such as "an empty segment" */
};

/*
 * ${path} is raw: the part of REQUEST_URI before '?', base path already taken off, beginning with
 * '/'.  A trailing slash is an empty segment; "/" alone has no segments.  ${m} may be
 * HTTP_METHOD__COUNT, a method that no route has.  Where several routes fit, the one whose first
 * literal comes sooner wins, among those that know the method.
 *   ERR_OK         matched (or OPTIONS: endpoint is any of the path's)
 *   ERR_NOT_FOUND  no such path
 *   ERR_DENIED     the path exists, not with this method: see allow
 *   ERR_INVALID    empty segment, ".", "..", %2F, %5C, %00, bad escape, bad UTF-8: see why
 */
enum err router_match(const struct router *r, enum http_method m, struct slice path,
    struct arena *a, struct route_match *out);

/* "GET, HEAD, OPTIONS" for ${allow}; NULL when the arena is full. */
const char *router_allow(unsigned allow, struct arena *a);

#endif
