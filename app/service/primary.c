/*
 * The primary's door: an address that is resolved ahead of need, and the guard that every call goes through.
 */
#include "service/primary.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "client/pg.h"
#include "client/resolver.h"
#include "policy/tickets.h"
#include "service/pg_pool.h"
#include "service/pg_url.h"

enum { URL_BYTES_MAX = 64 << 10, CONNECT_MS_MAX = 5000 };

struct primary {
	struct arena arena; /* of the url's parts */
	struct pg_url url;
	struct resolver *resolver; /* NULL: a unix socket */
	int64_t timeout_ms;
	bool guarded;
	struct guard guards[2]; /* by caller; the same row */
	struct tickets *tickets;
	size_t host_connections;
	uint64_t owner;
	_Atomic size_t preferred; /* of the addresses */
};

/* Several in a list are for reads; writes have one place to go. */
static enum err
read_url(struct primary *p, const char *text)
{
	struct pg_url urls[PG_URLS_MAX];
	const char *why;
	size_t count;
	enum err rc = pg_urls_parse(slice_of(text), &p->arena, urls, &count, &why);

	if (rc == ERR_OK && count != 1)
		rc = ERR_INVALID;
	if (rc != ERR_OK)
		return rc;
	p->url = urls[0];
	return pg_url_is_local(&p->url) ? ERR_OK : resolver_open(&p->url.host, 1, &p->resolver);
}

enum err
primary_open(const struct primary_options *o, struct primary **out)
{
	struct primary *p = calloc(1, sizeof *p);
	enum err rc;

	if (p == NULL)
		return ERR_NOMEM;
	arena_init(&p->arena, URL_BYTES_MAX);
	p->timeout_ms = o->timeout_ms;
	p->guarded = o->guards != NULL;
	p->tickets = o->tickets;
	p->host_connections = o->host_connections;
	p->owner = pg_pool_owner();
	rc = read_url(p, o->url);
	for (int who = PRIMARY_CONSUMER; who <= PRIMARY_REQUEST && rc == ERR_OK && p->guarded;
	     who++)
		rc = guard_open(
		    o->guards, "primary", o->rules, who == PRIMARY_REQUEST, &p->guards[who]);
	if (rc == ERR_OK)
		*out = p;
	else
		primary_close(&p);
	return rc;
}

void
primary_close(struct primary **pp)
{
	struct primary *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	resolver_close(&p->resolver);
	arena_free(&p->arena);
	free(p);
}

void
primary_wait(const struct primary *p, int64_t deadline_ms)
{
	if (p->resolver != NULL)
		(void)resolver_wait(p->resolver, deadline_ms);
}

int64_t
primary_timeout_ms(const struct primary *p)
{
	return p->timeout_ms;
}

/*
 * The guard.
 */
static void
fault_set(struct pg_fault *f, const char *sqlstate, const char *message)
{
	*f = (struct pg_fault){ .offset = -1 };
	(void)snprintf(f->sqlstate, sizeof f->sqlstate, "%s", sqlstate);
	(void)snprintf(f->message, sizeof f->message, "%s", message);
}

static const struct guard *
guard_for(const struct primary *p, enum primary_caller who)
{
	return p->guarded ? &p->guards[who] : NULL;
}

static enum err
pass_in(const struct guard *g, struct guard_pass *pass, struct pg_fault *why)
{
	const enum err rc = g != NULL ? guard_enter(g, clock_mono_ms(), pass) : ERR_OK;

	if (rc != ERR_OK)
		fault_set(why, "08000", "the breaker of the primary is open");
	return rc;
}

static void
pass_out(const struct guard *g, const struct guard_pass *pass, enum err seen)
{
	if (g != NULL)
		guard_leave(g, pass, seen, clock_mono_ms());
}

/* What the guard is told: whatever a living server says about a statement is an answer, unless it says that it is not
 * well itself. */
static enum err
seen_of(const char *sqlstate, enum err rc, bool dead)
{
	static const char *const unwell[] = { "08", "53", "57", "58" };

	if (rc == ERR_OK || (!dead && strcmp(sqlstate, "57014") == 0))
		return ERR_OK;
	for (size_t i = 0; i < sizeof unwell / sizeof *unwell; i++)
		if (strncmp(sqlstate, unwell[i], 2) == 0)
			return rc == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_UNAVAILABLE;
	return dead ? ERR_UNAVAILABLE : ERR_OK;
}

/*
 * Connections and calls.
 */
static enum err
take_ticket(const struct primary *p, enum primary_caller who, size_t *out, struct pg_fault *why)
{
	const size_t kept_back = who == PRIMARY_REQUEST && p->host_connections > 1 ? 1 : 0;
	enum err rc = ERR_OK;

	if (p->tickets != NULL)
		rc = tickets_take(
		    p->tickets, p->host_connections - kept_back, p->owner, pg_pool_is_alive, out);
	if (rc == ERR_OK)
		return ERR_OK;
	fault_set(why, "53300", "all connections of DB_WRITE_POOL_MAX are in use");
	return ERR_OVERLOADED;
}

void
primary_hang_up(const struct primary *p, struct primary_link *link)
{
	if (link->pg == NULL)
		return;
	pg_close(&link->pg);
	if (p->tickets != NULL)
		tickets_give(p->tickets, link->ticket);
}

/* One address after the other, beginning with the one that was good last; what does not even refuse is left for the next
 * time, which begins behind it. */
static enum err
dial(struct primary *p, int64_t deadline_ms, struct pg **out, struct pg_fault *why)
{
	const bool local = p->resolver == NULL;
	struct resolver_addresses found = { .count = 1 };
	struct pg_address address;
	enum err rc = ERR_UNAVAILABLE;
	size_t first;

	if (!local)
		resolver_look(p->resolver, 0, &found);
	if (found.count == 0)
		fault_set(why, "08001", "the name of the server is not known (yet)");
	first = atomic_load_explicit(&p->preferred, memory_order_relaxed);
	for (size_t n = 0; n < found.count && rc == ERR_UNAVAILABLE; n++) {
		const size_t i = (first + n) % found.count;

		address = pg_url_address(&p->url, local ? NULL : found.text[i]);
		rc = pg_connect(&address, true, deadline_ms, out, why);
		if (rc != ERR_UNAVAILABLE)
			atomic_store_explicit(
			    &p->preferred, rc == ERR_OK ? i : i + 1, memory_order_relaxed);
	}
	return rc;
}

enum err
primary_connect(struct primary *p, enum primary_caller who, int64_t deadline_ms,
    struct primary_link *out, struct pg_fault *why)
{
	const struct guard *guard = guard_for(p, who);
	const int64_t ms =
	    p->timeout_ms > 0 && p->timeout_ms < CONNECT_MS_MAX ? p->timeout_ms : CONNECT_MS_MAX;
	const int64_t own_ms = clock_mono_ms() + ms;
	struct guard_pass pass;
	enum err rc;

	*out = (struct primary_link){ .pg = NULL };
	if (own_ms < deadline_ms)
		deadline_ms = own_ms;
	rc = take_ticket(p, who, &out->ticket, why);
	if (rc != ERR_OK)
		return rc;
	rc = pass_in(guard, &pass, why);
	if (rc == ERR_OK) {
		rc = dial(p, deadline_ms, &out->pg, why);
		pass_out(guard, &pass, seen_of(why->sqlstate, rc, false));
	}
	if (rc != ERR_OK && p->tickets != NULL)
		tickets_give(p->tickets, out->ticket);
	return rc;
}

enum err
primary_enter(const struct primary *p, enum primary_caller who, struct pg *pg, int64_t deadline_ms,
    struct primary_call *out, struct pg_fault *why)
{
	*out = (struct primary_call){ .guard = guard_for(p, who), .pg = pg };
	pg_deadline(pg, deadline_ms);
	return pass_in(out->guard, &out->pass, why);
}

enum err
primary_leave(struct primary_call *c, enum err rc, struct pg_fault *why)
{
	enum err end = pg_is_dead(c->pg) ? rc : pg_finish(c->pg);

	if (rc == ERR_OK)
		rc = end;
	if (rc != ERR_OK)
		*why = *pg_last_fault(c->pg);
	pass_out(c->guard, &c->pass, seen_of(why->sqlstate, rc, pg_is_dead(c->pg)));
	return rc;
}

enum err
primary_ask(const struct primary *p, struct pg *pg, const struct pg_statement *s,
    int64_t deadline_ms, struct pg_result **out, struct pg_fault *why)
{
	struct primary_call c;
	struct pg_result *r = NULL;
	enum err rc = primary_enter(p, PRIMARY_REQUEST, pg, deadline_ms, &c, why);

	if (rc != ERR_OK)
		return rc;
	rc = pg_send(pg, s);
	if (rc == ERR_OK)
		rc = pg_sync(pg);
	if (rc == ERR_OK)
		rc = pg_fetch(pg, &r);
	rc = primary_leave(&c, rc, why);
	if (rc == ERR_OK)
		*out = r;
	else
		pg_result_free(&r);
	return rc;
}
