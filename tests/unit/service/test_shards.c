/* Goal: an owner's keys lie on one shard wherever they are asked for, and nobody waits twice for a shard that stalls. */
#include "service/shards.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/redis.h"
#include "tests/support/unit.h"

enum { OWNERS = 4000, TIMEOUT_MS = 50, ALIGN = 64, PATIENCE_MS = 20000, CONNECTIONS_MAX = 16 };

static const struct breaker_rules rules = {
	.slow_ms = 3000, .failure_pct = 50, .reset_ms = 200, .volume = 20, .probe_lease_ms = 1000
};
static const struct slice ping = { "PING", 4 };

static struct guards *
new_guards(void)
{
	struct guards *g = aligned_alloc(ALIGN, guards_size());

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	guards_init(g);
	return g;
}

static struct shards *
open_shards(const char *urls, struct guards *g)
{
	const struct shards_options o = { .urls = urls,
		.timeout_ms = TIMEOUT_MS,
		.guards = g,
		.rules = &rules,
		.max_connections = 2 };
	struct shards *s;

	CU_ASSERT_EQUAL_FATAL(shards_open(&o, &s), ERR_OK);
	return s;
}

static struct slice
owner(unsigned i, char text[24])
{
	const int n = snprintf(text, 24, "10.0.%u.%u", i / 256, i % 256);

	return (struct slice){ text, (size_t)n };
}

static void
owners_are_spread_and_the_order_of_the_urls_is_free(void)
{
	struct guards *g = new_guards();
	struct shards *a = open_shards("unix:/none/1,unix:/none/2,unix:/none/3", g);
	struct shards *b = open_shards("unix:/none/3,unix:/none/1,unix:/none/2", g);
	unsigned at[3] = { 0 };
	char text[24];

	for (unsigned i = 0; i < OWNERS; i++) {
		const size_t first = shards_of(a, owner(i, text)),
			     second = shards_of(b, owner(i, text));

		at[first]++;
		CU_ASSERT_STRING_EQUAL(shards_url(a, first), shards_url(b, second));
	}
	for (size_t i = 0; i < 3; i++)
		CU_ASSERT_TRUE(at[i] > OWNERS / 4 && at[i] < OWNERS / 2);
	shards_close(&a);
	shards_close(&b);
	free(g);
}

static void
a_shard_that_is_taken_away_moves_nobody_else(void)
{
	struct guards *g = new_guards();
	struct shards *all = open_shards("unix:/none/1,unix:/none/2,unix:/none/3", g);
	struct shards *two = open_shards("unix:/none/1,unix:/none/2", g);
	char text[24];

	for (unsigned i = 0; i < OWNERS; i++) {
		const size_t before = shards_of(all, owner(i, text));

		if (before < 2)
			CU_ASSERT_EQUAL(shards_of(two, owner(i, text)), before);
	}
	shards_close(&all);
	shards_close(&two);
	free(g);
}

/*
 * A Redis that only listens until it is told to serve: then it answers whatever comes with PONG.
 */
struct stall {
	char path[108], url[128];
	int listening;
	pthread_t thread;
	_Atomic bool serves, ends;
	_Atomic unsigned drops; /* of so many calls the connection ends instead of an answer */
	_Atomic unsigned asked;
};

/* A connection has something to say. */
static void
stall_answer(struct stall *s, struct pollfd *p)
{
	char bytes[512];

	if (recv(p->fd, bytes, sizeof bytes, 0) <= 0)
		return;
	s->asked++;
	if (s->drops == 0) {
		(void)send(p->fd, "+PONG\r\n", 7, MSG_NOSIGNAL);
		return;
	}
	s->drops--;
	(void)close(p->fd);
	p->fd = -1; /* which poll() passes over */
}

static void *
stall_run(void *arg)
{
	struct stall *s = arg;
	struct pollfd p[CONNECTIONS_MAX] = { { .fd = s->listening, .events = POLLIN } };
	nfds_t n = 1;

	while (!s->ends) {
		if (!s->serves) {
			(void)poll(NULL, 0, 2);
			continue;
		}
		if (poll(p, n, 5) < 1)
			continue;
		if (p[0].revents != 0 && n < CONNECTIONS_MAX)
			p[n++] = (struct pollfd){ .fd = accept(s->listening, NULL, NULL),
				.events = POLLIN };
		for (nfds_t i = 1; i < n; i++)
			if (p[i].revents & POLLIN)
				stall_answer(s, &p[i]);
	}
	while (--n > 0)
		if (p[n].fd != -1)
			(void)close(p[n].fd);
	return NULL;
}

static void
stall_start(struct stall *s, bool serves)
{
	static unsigned n;
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	(void)snprintf(s->path, sizeof s->path, "%s/shard-%u", unit_dir(), n++);
	(void)snprintf(s->url, sizeof s->url, "unix:%s", s->path);
	memcpy(un.sun_path, s->path, strlen(s->path));
	s->serves = serves;
	s->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(bind(s->listening, (struct sockaddr *)&un, sizeof un), 0);
	CU_ASSERT_EQUAL_FATAL(listen(s->listening, 64), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&s->thread, NULL, stall_run, s), 0);
}

static void
stall_end(struct stall *s)
{
	s->ends = true;
	(void)pthread_join(s->thread, NULL);
	(void)close(s->listening);
	(void)unlink(s->path);
}

static enum err
ping_shard(struct shards *s)
{
	struct redis_reply *reply;
	const enum err rc = shards_call(s, 0, &ping, 1, clock_mono_ms(), &reply);

	redis_reply_free(&reply);
	return rc;
}

static void
a_shard_that_missed_a_deadline_is_not_waited_for_until_a_probe_has_answered(void)
{
	struct stall stall = { 0 };
	struct guards *g = new_guards();
	struct shards *s;
	const int64_t until = clock_mono_ms() + PATIENCE_MS;

	stall_start(&stall, false);
	s = open_shards(stall.url, g);
	CU_ASSERT_TRUE(shards_is_up(s, 0));
	CU_ASSERT_EQUAL(ping_shard(s), ERR_TIMEOUT);
	for (int i = 0; i < 1000; i++) /* fifty seconds, if each waited */
		CU_ASSERT_EQUAL(ping_shard(s), ERR_UNAVAILABLE);
	CU_ASSERT_FALSE(shards_is_up(s, 0));
	stall.serves = true;
	while (!shards_is_up(s, 0) && clock_mono_ms() < until)
		(void)poll(NULL, 0, 10);
	CU_ASSERT_EQUAL(ping_shard(s), ERR_OK);
	shards_close(&s);
	stall_end(&stall);
	free(g);
}

static void
connections_are_kept_and_dead_ones_replaced(void)
{
	struct stall first = { 0 }, second = { 0 };
	struct guards *g = new_guards();
	struct shards *s;

	stall_start(&first, true);
	s = open_shards(first.url, g);
	for (int i = 0; i < 50; i++) /* more than a fake takes connections */
		CU_ASSERT_EQUAL(ping_shard(s), ERR_OK);
	stall_end(&first); /* closes what it had */
	stall_start(&second, true);
	CU_ASSERT_EQUAL_FATAL(rename(second.path, first.path), 0);
	CU_ASSERT_EQUAL(ping_shard(s), ERR_OK);
	shards_close(&s);
	stall_end(&second);
	(void)unlink(first.path);
	free(g);
}

static enum err
eval_on_shard(struct shards *s, const struct redis_script *script)
{
	struct redis_reply *reply;
	const enum err rc = shards_eval(s, 0, script, NULL, 0, NULL, 0, clock_mono_ms(), &reply);

	redis_reply_free(&reply);
	return rc;
}

/* As when Redis closes what lay idle, at the very moment when it is used. */
static void
a_kept_connection_that_ends_in_a_call_is_replaced_once_for_what_may_run_twice(void)
{
	static const struct redis_script once = { .name = "once", .text = "return 1" };
	static const struct redis_script twice = {
		.name = "twice", .text = "return 2", .repeatable = true
	};
	struct stall stall = { 0 };
	struct guards *g = new_guards();
	struct shards *s;

	stall_start(&stall, true);
	s = open_shards(stall.url, g);
	CU_ASSERT_EQUAL(ping_shard(s), ERR_OK);
	stall.drops = 1;
	CU_ASSERT_EQUAL(eval_on_shard(s, &twice), ERR_OK);
	CU_ASSERT_EQUAL(stall.asked, 3);
	stall.drops = 1;
	CU_ASSERT_EQUAL(eval_on_shard(s, &once), ERR_IO);
	CU_ASSERT_EQUAL(stall.asked, 4);
	CU_ASSERT_EQUAL(ping_shard(s), ERR_OK);
	stall.drops = 2; /* the new one as well: that is Redis, and not the connection */
	CU_ASSERT_EQUAL(ping_shard(s), ERR_IO);
	CU_ASSERT_EQUAL(stall.asked, 7);
	shards_close(&s);
	stall_end(&stall);
	free(g);
}

static void
a_name_that_nobody_resolves_is_unavailable_at_once(void)
{
	struct guards *g = new_guards();
	struct shards *s = open_shards("redis://nobody.invalid:6379", g);

	CU_ASSERT_EQUAL(ping_shard(s), ERR_UNAVAILABLE);
	shards_close(&s);
	free(g);
}

UNIT_SUITE(shards, TEST(owners_are_spread_and_the_order_of_the_urls_is_free),
    TEST(a_shard_that_is_taken_away_moves_nobody_else),
    TEST(a_shard_that_missed_a_deadline_is_not_waited_for_until_a_probe_has_answered),
    TEST(connections_are_kept_and_dead_ones_replaced),
    TEST(a_kept_connection_that_ends_in_a_call_is_replaced_once_for_what_may_run_twice),
    TEST(a_name_that_nobody_resolves_is_unavailable_at_once));
