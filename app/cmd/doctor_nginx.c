/*
 * nginx, as `weir doctor` reads it: every location that passes requests to weir.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/str.h"
#include "base/units.h"
#include "cmd/doctor.h"
#include "runtime/config.h"

enum { DEFAULT_BODY_BYTES = 1 << 20, SECOND_MS = 1000, PARAMS_SHOWN = 16 };

/* One `fastcgi_pass` that leads to weir. */
struct place {
	const struct config *c;
	const struct front_directive *pass;
	const struct front_directive *upstream; /* NULL: it names the socket itself */
	bool kept;				/* some upstream keeps connections to weir */
	struct fault_list *findings;
};

#define TELL(p, d, ...) fault_warn((p)->findings, (d)->file, (d)->line, __VA_ARGS__)

static const char *
word(const struct front_directive *d, size_t i)
{
	return d != NULL && i < d->count ? d->words[i] : "";
}

/* Quotes and nginx's own spelling of a path with more slashes aside. */
static bool
is_our_address(const struct config *c, const char *address)
{
	return strcmp(address, c->listen) == 0;
}

/*
 * What is asked of each.
 */
static void
check_body(const struct place *p)
{
	const struct front_directive *d =
	    front_config_in_force(p->pass, "client_max_body_size", false);
	int64_t most = DEFAULT_BODY_BYTES;

	if (d != NULL && units_bytes(slice_of(word(d, 1)), &most) != ERR_OK)
		return;
	if (most == 0 || most >= p->c->max_body_bytes)
		return;
	TELL(p, d != NULL ? d : p->pass,
	    "bodies over %" PRId64 " bytes get nginx's own 413, WEIR_MAX_BODY allows %" PRId64
	    "; add: client_max_body_size %" PRId64 ";",
	    most, p->c->max_body_bytes, p->c->max_body_bytes);
}

static void
check_kept(const struct place *p)
{
	const struct front_directive *d =
	    front_config_in_force(p->pass, "fastcgi_keep_conn", false);

	if (strcmp(word(d, 1), "on") != 0)
		TELL(p, d != NULL ? d : p->pass,
		    "every request opens a connection of its own; add: fastcgi_keep_conn on;");
}

/* The level that names any parameter is the one that counts: it takes all that stand around it away. */
static const struct front_directive *
param_in_force(const struct place *p, const char *name)
{
	const struct front_directive *any = front_config_in_force(p->pass, "fastcgi_param", false);
	const struct front_directive *found = NULL;

	for (const struct front_directive *d = any == NULL ? NULL : any->parent->children;
	     d != NULL; d = d->next)
		if (strcmp(d->words[0], "fastcgi_param") == 0 && strcmp(word(d, 1), name) == 0)
			found = d;
	return found;
}

static void
check_params(const struct place *p)
{
	static const struct {
		const char *name, *value, *why;
	} wanted[] = {
		{ "REQUEST_METHOD", "$request_method", "weir answers 400 to everything" },
		{ "REQUEST_URI", "$request_uri", "weir cannot route" },
		{ "QUERY_STRING", "$query_string", "parameters do not arrive" },
		{ "CONTENT_TYPE", "$content_type", "bodies are refused with 415" },
		{ "CONTENT_LENGTH", "$content_length", "weir cannot tell whether a body is whole" },
		{ "REMOTE_ADDR", "$remote_addr", "all clients share one limit" },
		{ "REQUEST_ID", "$request_id",
		    "a write without an Idempotency-Key that nginx sends twice is written twice" },
		{ "REQUEST_START", "$msec",
		    "weir does not see how long a request has waited before it" },
	};
	const struct front_directive *d = param_in_force(p, "TENANT_ID");

	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		if (param_in_force(p, wanted[i].name) == NULL)
			TELL(p, p->pass, "%s; add: fastcgi_param %s %s;", wanted[i].why,
			    wanted[i].name, wanted[i].value);
	if (strncmp(word(d, 2), "$http_", 6) == 0 || strncmp(word(d, 2), "$arg_", 5) == 0)
		fault_add(p->findings, d->file, d->line,
		    "any client can say that it is another tenant (%s); take this line out, or set "
		    "TENANT_ID from what nginx has checked, as $ssl_client_s_dn",
		    word(d, 2));
	d = param_in_force(p, "HTTP_AUTHORIZATION");
	if (d != NULL && *word(d, 2) == '\0')
		TELL(p, d,
		    "API keys in Authorization do not arrive (X-API-Key does); fine when nginx "
		    "checks Authorization itself, else take this line out");
}

static void
check_retries(const struct place *p)
{
	const struct front_directive *d =
	    front_config_in_force(p->pass, "fastcgi_next_upstream", false);

	for (size_t i = 1; d != NULL && i < d->count; i++)
		if (strcmp(d->words[i], "http_503") == 0 || strcmp(d->words[i], "timeout") == 0)
			TELL(p, d,
			    "%s is tried again: %s; add: fastcgi_next_upstream error "
			    "non_idempotent;",
			    d->words[i],
			    *d->words[i] == 'h' ? "what weir sheds comes back at once"
						: "a slow write runs twice at once");
}

static size_t
servers_of(const struct place *p)
{
	size_t n = 0;

	for (const struct front_directive *d = p->upstream->children; d != NULL; d = d->next)
		n += strcmp(d->words[0], "server") == 0;
	return n;
}

static const struct front_directive *
child(const struct front_directive *section, const char *name)
{
	const struct front_directive *d = section->children;

	while (d != NULL && strcmp(d->words[0], name) != 0)
		d = d->next;
	return d;
}

static void
check_upstream(const struct place *p)
{
	const struct front_directive *idle;
	int64_t idle_ms = 60 * SECOND_MS;

	if (p->upstream == NULL) {
		TELL(p, p->pass,
		    "no connection is kept, and none gets a second try; add: upstream weir { "
		    "server "
		    "%s max_fails=0; server %s max_fails=0; server %s max_fails=0; keepalive 64; } "
		    "and fastcgi_pass weir;",
		    p->c->listen, p->c->listen, p->c->listen);
		return;
	}
	if (servers_of(p) < 2)
		TELL(p, p->upstream,
		    "a lone server gets no second try when a worker dies; add twice more: server "
		    "%s "
		    "max_fails=0;",
		    p->c->listen);
	if (!p->kept)
		TELL(p, p->upstream, "no connection is kept; add: keepalive 64;");
	idle = child(p->upstream, "keepalive_timeout");
	if (idle != NULL &&
	    units_duration_ms(slice_of(word(idle, 1)), SECOND_MS, &idle_ms) != ERR_OK)
		return;
	if (idle_ms >= p->c->drain_ms)
		TELL(p, idle != NULL ? idle : p->upstream,
		    "kept connections live %" PRId64 " s, WEIR_DRAIN ends them after %" PRId64
		    " s, under a request; add: keepalive_timeout %" PRId64 "s;",
		    idle_ms / SECOND_MS, p->c->drain_ms / SECOND_MS,
		    p->c->drain_ms / SECOND_MS > 5 ? p->c->drain_ms / SECOND_MS - 5 : 1);
}

/*
 * Which they are.
 */
static bool
leads_to_us(const struct config *c, const struct front_directive *upstream)
{
	for (const struct front_directive *d = upstream->children; d != NULL; d = d->next)
		if (strcmp(d->words[0], "server") == 0 && is_our_address(c, word(d, 1)))
			return true;
	return false;
}

static bool
passes_to_us(const struct config *c, const struct front_config *front,
    const struct front_directive *pass, const struct front_directive **upstream_out)
{
	const struct front_directive *u = NULL;

	*upstream_out = NULL;
	if (is_our_address(c, word(pass, 1)))
		return true;
	while ((u = front_config_find(&front->root, u, "upstream", false)) != NULL)
		if (strcmp(word(u, 1), word(pass, 1)) == 0 && leads_to_us(c, u)) {
			*upstream_out = u;
			return true;
		}
	return false;
}

/* Some are for the case that kept connections are dead. */
static bool
any_is_kept(const struct config *c, const struct front_config *front)
{
	const struct front_directive *u = NULL;

	while ((u = front_config_find(&front->root, u, "upstream", false)) != NULL)
		if (leads_to_us(c, u) && child(u, "keepalive") != NULL)
			return true;
	return false;
}

size_t
doctor_nginx(const struct config *c, const struct front_config *front, struct fault_list *findings)
{
	struct place p = { .c = c, .findings = findings, .kept = any_is_kept(c, front) };
	size_t places = 0;

	while ((p.pass = front_config_find(&front->root, p.pass, "fastcgi_pass", false)) != NULL) {
		if (!passes_to_us(c, front, p.pass, &p.upstream))
			continue;
		places++;
		check_body(&p);
		check_kept(&p);
		check_params(&p);
		check_retries(&p);
		check_upstream(&p);
	}
	return places;
}
