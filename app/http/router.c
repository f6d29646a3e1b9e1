/*
 * Raw path to endpoint: a tree of segments, flat in two arrays.
 *
 * Literal children of all nodes share one hash table, keyed by parent and
 * literal; the parameter child is an index in the node.  The walk visits every
 * node that fits the path, the literal before the parameter, each at most once:
 * GET /a/:x still answers /a/b where only POST /a/b is declared.
 */
#include "http/router.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "http/percent.h"

enum { ROOT = 0 }; /* nobody's child, so 0 also says "none" */

struct node {
	struct slice literal; /* absent: the root, or a parameter */
	uint32_t parent;
	uint32_t param_child;
	bool has_literals;
	unsigned allow;
	const struct endpoint *by_method[HTTP_METHOD__COUNT];
};

struct router {
	struct node *nodes;
	uint32_t *slots; /* node indexes */
	uint32_t count, mask;
};

/* Where ${literal} under ${parent} is in the table, or the empty slot where it would be. */
static uint32_t *
slot_of(const struct router *r, uint32_t parent, struct slice literal)
{
	uint64_t at = hash64(parent, literal.ptr, literal.len);

	for (;; at++) {
		uint32_t *slot = &r->slots[at & r->mask];
		const struct node *n = &r->nodes[*slot];

		if (*slot == ROOT || (n->parent == parent && slice_eq(n->literal, literal)))
			return slot;
	}
}

static uint32_t
child_of(struct router *r, uint32_t parent, const struct route_segment *s)
{
	uint32_t *slot =
	    s->param >= 0 ? &r->nodes[parent].param_child : slot_of(r, parent, s->literal);

	if (*slot == ROOT) {
		*slot = r->count++;
		r->nodes[*slot].parent = parent;
		if (s->param < 0) {
			r->nodes[*slot].literal = s->literal;
			r->nodes[parent].has_literals = true;
		}
	}
	return *slot;
}

static unsigned
allow_bits(enum http_method m)
{
	const unsigned bits = 1u << m | 1u << HTTP_OPTIONS;

	return m == HTTP_GET ? bits | 1u << HTTP_HEAD : bits;
}

/* The endpoint that already sits where ${e} wants to be, NULL when ${e} was added. */
static const struct endpoint *
insert(struct router *r, const struct endpoint *e)
{
	uint32_t at = ROOT;
	struct node *n;

	for (size_t i = 0; i < e->segment_count; i++)
		at = child_of(r, at, &e->segments[i]);
	n = &r->nodes[at];
	if (n->by_method[e->method] != NULL)
		return n->by_method[e->method];
	n->by_method[e->method] = e;
	n->allow |= allow_bits(e->method);
	return NULL;
}

static struct router *
router_new(size_t max_nodes)
{
	struct router *r = calloc(1, sizeof *r);
	size_t slots = 4;

	while (slots < 2 * max_nodes)
		slots *= 2;
	if (r == NULL)
		return NULL;
	r->nodes = calloc(max_nodes, sizeof *r->nodes);
	r->slots = calloc(slots, sizeof *r->slots);
	r->mask = (uint32_t)(slots - 1);
	r->count = 1;
	if (r->nodes == NULL || r->slots == NULL)
		router_free(&r);
	return r;
}

enum err
router_build(const struct endpoint *const *endpoints, size_t count, struct router **out,
    const struct endpoint **first_out, const struct endpoint **second_out)
{
	size_t max_nodes = 1;
	struct router *r;

	for (size_t i = 0; i < count; i++)
		max_nodes += endpoints[i]->segment_count;
	r = max_nodes > UINT32_MAX / 4 ? NULL : router_new(max_nodes);
	if (r == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < count; i++) {
		*first_out = insert(r, endpoints[i]);
		*second_out = endpoints[i];
		if (*first_out != NULL) {
			router_free(&r);
			return ERR_CONFLICT;
		}
	}
	*out = r;
	return ERR_OK;
}

void
router_free(struct router **rp)
{
	struct router *r = *rp;

	if (r == NULL)
		return;
	*rp = NULL;
	free(r->nodes);
	free(r->slots);
	free(r);
}

/* One raw segment to its bytes; what could mean another path to somebody else is refused. */
static enum err
segment_decode(struct slice raw, struct arena *a, struct slice *out, const char **why_out)
{
	const enum err rc = percent_decode(raw, false, a, out, why_out);
	const struct slice s = *out;

	if (rc != ERR_OK)
		return rc;
	*why_out = NULL;
	if (s.len == 0)
		*why_out = "an empty segment";
	else if (*s.ptr == '.' && (s.len == 1 || (s.len == 2 && s.ptr[1] == '.')))
		*why_out = "a \".\" or \"..\" segment";
	else if (memchr(s.ptr, '/', s.len) != NULL)
		*why_out = "an encoded slash";
	else if (memchr(s.ptr, '\\', s.len) != NULL)
		*why_out = "a backslash";
	return *why_out == NULL ? ERR_OK : ERR_INVALID;
}

/* Splits the whole path.  Segments past ROUTER_MAX_SEGMENTS are checked, counted, and not kept. */
static enum err
split(struct slice path, struct arena *a, struct route_match *m)
{
	struct slice rest = path;
	enum err rc = ERR_OK;

	m->segment_count = 0;
	if (slice_cut(&rest, '/').len != 0 || rest.ptr == NULL) {
		m->why = "no leading slash";
		return ERR_INVALID;
	}
	if (rest.len == 0)
		return ERR_OK; /* "/" is the root, and has no segments */
	while (rest.ptr != NULL && rc == ERR_OK) {
		struct slice past_the_last;
		struct slice *to = m->segment_count < ROUTER_MAX_SEGMENTS
				       ? &m->decoded[m->segment_count]
				       : &past_the_last;

		rc = segment_decode(slice_cut(&rest, '/'), a, to, &m->why);
		m->segment_count++;
	}
	return rc;
}

struct walk {
	const struct router *router;
	enum http_method method;
	struct route_match *match;
};

/* The path ends at ${n}.  For OPTIONS any endpoint will do: it lends its limits and tenant rules. */
static void
arrive(struct walk *w, const struct node *n)
{
	struct route_match *m = w->match;

	m->allow |= n->allow;
	if (w->method < HTTP_METHOD__COUNT && w->method != HTTP_OPTIONS && m->endpoint == NULL)
		m->endpoint = n->by_method[w->method];
	for (int i = 0; w->method == HTTP_OPTIONS && i < HTTP_METHOD__COUNT; i++)
		if (m->endpoint == NULL)
			m->endpoint = n->by_method[i];
}

/* At most ROUTER_MAX_SEGMENTS deep. */
static void
visit(struct walk *w, uint32_t at, size_t depth)
{
	const struct node *n = &w->router->nodes[at];
	uint32_t child = ROOT;

	if (depth == w->match->segment_count) {
		arrive(w, n);
		return;
	}
	if (n->has_literals)
		child = *slot_of(w->router, at, w->match->decoded[depth]);
	if (child != ROOT)
		visit(w, child, depth + 1);
	if (n->param_child != ROOT)
		visit(w, n->param_child, depth + 1);
}

enum err
router_match(const struct router *r, enum http_method m, struct slice path, struct arena *a,
    struct route_match *out)
{
	struct walk w = { .router = r, .method = m == HTTP_HEAD ? HTTP_GET : m, .match = out };
	enum err rc;

	out->endpoint = NULL;
	out->allow = 0;
	out->why = NULL;
	rc = split(path, a, out);
	if (rc != ERR_OK)
		return rc;
	if (out->segment_count > ROUTER_MAX_SEGMENTS)
		return ERR_NOT_FOUND;
	visit(&w, ROOT, 0);
	if (out->allow == 0)
		return ERR_NOT_FOUND;
	return out->endpoint == NULL ? ERR_DENIED : ERR_OK;
}

const char *
router_allow(unsigned allow, struct arena *a)
{
	char text[64]; /* all seven take 44 */
	size_t len = 0;

	for (enum http_method m = HTTP_GET; m < HTTP_METHOD__COUNT; m++) {
		const char *name = http_method_name(m);

		if ((allow & 1u << m) == 0)
			continue;
		if (len > 0) {
			text[len++] = ',';
			text[len++] = ' ';
		}
		memcpy(text + len, name, strlen(name));
		len += strlen(name);
	}
	return arena_copy(a, (struct slice){ text, len });
}
