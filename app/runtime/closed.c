/*
 * The sign on the door: the reactor with one answer to everything.
 */
#include "runtime/closed.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "client/fcgi.h"
#include "http/address.h"
#include "http/problem.h"
#include "http/request.h"
#include "http/response.h"
#include "pipeline/exchange.h"
#include "runtime/reactor.h"
#include "runtime/signals.h"

enum { ARRIVE_MS = 30000, TURN_MS = 250, ARENA_BYTES = 64 * 1024, RETRY_AFTER_S = 5 };

struct closed {
	struct reactor *reactor;
	struct source signals;
	struct arena arena; /* of the list below */
	bool told_to_stop;
};

static struct exchange *
take(void *ctx)
{
	struct exchange *x = calloc(1, sizeof *x);

	(void)ctx;
	if (x != NULL)
		arena_init(&x->arena, ARENA_BYTES);
	return x;
}

static void
give(void *ctx, struct exchange *x)
{
	(void)ctx;
	arena_free(&x->arena);
	free(x);
}

static void
nothing(void *ctx, struct exchange *x)
{
	(void)ctx;
	(void)x;
}

static void
refused(void *ctx)
{
	(void)ctx;
}

static void
request(void *ctx, struct exchange *x)
{
	struct closed *c = ctx;
	struct problem ignored, p = PROBLEM(503, CLOSED_WORDS);

	(void)request_read(&x->request, x->envp, &x->arena, &ignored);
	p.retry_after_s = RETRY_AFTER_S;
	problem_respond(&p, x->request.path, x->request.request_id, &x->arena, &x->response);
	x->response.head_only = x->request.method == HTTP_HEAD;
	reactor_reply(c->reactor, x);
}

static void
signal_came(struct source *s, uint32_t events)
{
	struct closed *c = CONTAINER_OF(s, struct closed, signals);
	int signal;

	(void)events;
	while ((signal = signals_next(s->fd)) != 0) {
		if (signal == SIGTERM || signal == SIGINT || signal == SIGQUIT)
			c->told_to_stop = true;
		else if (signal == SIGUSR1)
			(void)log_reopen();
	}
}

static enum err
open_doors(struct closed *c, int listen_fd)
{
	static const struct reactor_ops ops = {
		.take = take, .request = request, .gone = nothing, .refused = refused, .give = give
	};
	const struct reactor_options o = { .ops = &ops, .ctx = c, .arrive_ms = ARRIVE_MS };
	struct cidr *loopback = NULL;
	struct slice bad;
	size_t count = 0;
	int fd = -1;
	enum err rc = signals_open(&fd);

	c->signals = (struct source){ .ready = signal_came, .fd = fd };
	if (rc == ERR_OK)
		rc = reactor_open(&o, &c->reactor);
	if (rc == ERR_OK)
		rc = reactor_watch(c->reactor, &c->signals);
	if (rc == ERR_OK)
		rc = cidr_list_parse(SLICE("127.0.0.0/8,::1"), &c->arena, &loopback, &count, &bad);
	return rc == ERR_OK ? reactor_listen(c->reactor, listen_fd, loopback, count) : rc;
}

bool
closed_for(int listen_fd, int64_t ms)
{
	const int64_t until_ms = clock_mono_ms() + ms;
	struct closed c = { .signals.fd = -1 };

	fcgi_init();
	arena_init(&c.arena, ARENA_BYTES);
	if (open_doors(&c, listen_fd) != ERR_OK)
		(void)usleep(
		    (useconds_t)ms * 1000); /* no descriptor to be had, and no use in spinning */
	while (c.reactor != NULL && !c.told_to_stop && clock_mono_ms() < until_ms)
		reactor_turn(c.reactor, TURN_MS);
	reactor_close(&c.reactor);
	if (c.signals.fd != -1)
		(void)close(c.signals.fd);
	arena_free(&c.arena);
	return !c.told_to_stop;
}
