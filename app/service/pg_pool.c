/*
 * Connections to several servers, each with a ticket of the host.
 *
 * The lock guards only the list; connecting, running and closing are done without it.  A ticket is given back after
 * its connection is closed, so the host never has more than it may.
 */
#include "service/pg_pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "client/pg.h"
#include "policy/tickets.h"
#include "telemetry/scoreboard.h"
#include "telemetry/span.h"

enum {
	NAP_MS = 10, /* other processes give back without a word */
	LOOK_FOR_DEAD_MS = 100,
};

struct kept {
	struct pg_lease lease;
	int64_t since_ms;
};

struct pg_pool {
	struct pg_pool_options o;
	uint64_t owner;
	pthread_mutex_t lock;
	pthread_cond_t given_back;
	struct kept *kept; /* the last one given back is lent first */
	size_t kept_count, kept_cap, lent_count;
	int64_t look_for_dead_ms; /* not before */
};

uint64_t
pg_pool_owner(void)
{
	const pid_t pid = getpid();

	return tickets_owner((uint32_t)pid, process_start_ticks(pid));
}

enum err
pg_pool_open(const struct pg_pool_options *o, struct pg_pool **out)
{
	struct pg_pool *p = calloc(1, sizeof *p);

	*out = p;
	if (p == NULL)
		return ERR_NOMEM;
	p->o = *o;
	p->owner = pg_pool_owner();
	thread_lock_init(&p->lock, &p->given_back);
	return ERR_OK;
}

static void
end(struct pg_pool *p, struct pg_lease *lease)
{
	pg_close(&lease->pg);
	tickets_give(p->o.tickets, lease->ticket);
}

void
pg_pool_close(struct pg_pool **pp)
{
	struct pg_pool *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	for (size_t i = 0; i < p->kept_count; i++)
		end(p, &p->kept[i].lease);
	(void)pthread_cond_destroy(&p->given_back);
	(void)pthread_mutex_destroy(&p->lock);
	free(p->kept);
	free(p);
}

bool
pg_pool_is_alive(uint64_t owner)
{
	const uint32_t pid = (uint32_t)(owner >> 32);
	const uint64_t ticks = process_start_ticks((pid_t)pid);

	return ticks != 0 && tickets_owner(pid, ticks) == owner;
}

static struct pg_lease
take_kept(struct pg_pool *p, size_t i)
{
	const struct pg_lease lease = p->kept[i].lease;

	p->kept_count--;
	memmove(&p->kept[i], &p->kept[i + 1], (p->kept_count - i) * sizeof *p->kept);
	return lease;
}

/* The connection to ${server} that was given back last. */
static bool
take_fitting(struct pg_pool *p, size_t server, struct pg_lease *out)
{
	for (size_t i = p->kept_count; i > 0; i--)
		if (p->kept[i - 1].lease.server == server) {
			*out = take_kept(p, i - 1);
			return true;
		}
	return false;
}

/* The lock is held: one try, which waits for nothing. */
static bool
try_borrow(struct pg_pool *p, size_t server, int64_t now_ms, struct pg_lease *out)
{
	tickets_alive *alive = NULL;

	*out = (struct pg_lease){ .server = server };
	if (take_fitting(p, server, out))
		return true;
	if (now_ms >= p->look_for_dead_ms)
		alive = pg_pool_is_alive;
	if (tickets_take(p->o.tickets, p->o.limit, p->owner, alive, &out->ticket) == ERR_OK)
		return true;
	if (alive != NULL)
		p->look_for_dead_ms = now_ms + LOOK_FOR_DEAD_MS;
	if (p->kept_count == 0)
		return false;
	*out = take_kept(p, 0); /* to another server, and idle the longest */
	return true;
}

/* False: nothing was given back for a while. */
static bool
nap(struct pg_pool *p, int64_t until_ms)
{
	return thread_wait(&p->given_back, &p->lock, until_ms);
}

/* A kept one that its server has ended, or that goes to another server, leaves the right to make one. */
static void
make_fit(struct pg_lease *lease, size_t server)
{
	if (lease->pg != NULL && (lease->server != server || !pg_is_fresh(lease->pg)))
		pg_close(&lease->pg);
	lease->server = server;
}

enum err
pg_pool_borrow(struct pg_pool *p, size_t server, int64_t deadline_ms, struct pg_lease *out)
{
	struct span *wait = NULL;
	enum err rc = ERR_OVERLOADED;

	(void)pthread_mutex_lock(&p->lock);
	for (;;) {
		const int64_t now_ms = clock_mono_ms();

		if (try_borrow(p, server, now_ms, out)) {
			p->lent_count++;
			rc = ERR_OK;
			break;
		}
		if (now_ms >= deadline_ms)
			break;
		if (wait == NULL)
			wait = span_begin(SPAN_INTERNAL, "pool.wait");
		tickets_want(p->o.tickets, now_ms);
		(void)nap(p, deadline_ms - now_ms < NAP_MS ? deadline_ms : now_ms + NAP_MS);
	}
	(void)pthread_mutex_unlock(&p->lock);
	span_end(wait, rc);
	if (rc == ERR_OK)
		make_fit(out, server);
	return rc;
}

size_t
pg_pool_reach(struct pg_pool *p)
{
	const size_t held = tickets_held(p->o.tickets, p->o.limit, 0);
	size_t own;

	(void)pthread_mutex_lock(&p->lock);
	own = p->kept_count + p->lent_count;
	(void)pthread_mutex_unlock(&p->lock);
	if (held < p->o.limit)
		return own + p->o.limit - held;
	if (own < p->o.share)
		tickets_want(p->o.tickets, clock_mono_ms());
	return own;
}

/* The lock is held.  False: it is to be closed. */
static bool
keep(struct pg_pool *p, const struct pg_lease *lease, int64_t now_ms)
{
	const size_t wanted = p->kept_cap == 0 ? 8 : p->kept_cap * 2;
	struct kept *wider;

	/* The one in hand counts: it was lent until now. */
	if (lease->pg == NULL || pg_is_dead(lease->pg) ||
	    (p->kept_count + p->lent_count > p->o.share && tickets_wanted(p->o.tickets, now_ms)))
		return false;
	if (p->kept_count == p->kept_cap) {
		wider = reallocarray(p->kept, wanted, sizeof *wider);
		if (wider == NULL)
			return false;
		p->kept = wider;
		p->kept_cap = wanted;
	}
	p->kept[p->kept_count++] = (struct kept){ *lease, now_ms };
	return true;
}

void
pg_pool_return(struct pg_pool *p, struct pg_lease *lease)
{
	bool kept;

	(void)pthread_mutex_lock(&p->lock);
	kept = keep(p, lease, clock_mono_ms());
	p->lent_count--;
	(void)pthread_mutex_unlock(&p->lock);
	if (!kept)
		end(p, lease);
	lease->pg = NULL;
	(void)pthread_cond_signal(&p->given_back);
}

/* The one that has been idle longest, when that is too long or others wait for its ticket. */
static bool
take_expired(struct pg_pool *p, int64_t now_ms, struct pg_lease *out)
{
	bool due = false;

	(void)pthread_mutex_lock(&p->lock);
	if (p->kept_count > 0)
		due = (p->o.idle_timeout_ms > 0 &&
			  now_ms - p->kept[0].since_ms >= p->o.idle_timeout_ms) ||
		      (p->kept_count + p->lent_count > p->o.share &&
			  tickets_wanted(p->o.tickets, now_ms));
	if (due)
		*out = take_kept(p, 0);
	(void)pthread_mutex_unlock(&p->lock);
	return due;
}

void
pg_pool_expire(struct pg_pool *p, int64_t now_ms)
{
	struct pg_lease lease;

	while (take_expired(p, now_ms, &lease))
		end(p, &lease);
}
