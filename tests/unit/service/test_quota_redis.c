/* Goal: a bucket in Redis gives what the rule says and not a token more, in doubt against the client. */
#include "service/quota_redis.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/redis.h"
#include "service/guard.h"
#include "service/shards.h"
#include "tests/support/unit.h"

enum { TIMEOUT_MS = 10000, ALIGN = 64, PATIENCE_MS = 20000 };

static const int64_t hour_us = INT64_C(3600) * 1000000, second_us = 1000000;

/* A real Redis of our own, on a socket in the unit folder. */
struct house {
	char dir[4200], url[4300], path[4250];
	pid_t pid;
	struct guards *guards;
	struct shards *shards;
};

static void
serve(const struct house *h)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (freopen("/dev/null", "w", stdout) == NULL)
		_exit(127);
	(void)execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", h->path,
	    "--dir", h->dir, "--save", "", "--appendonly", "no", (char *)NULL);
	_exit(127);
}

/* Its socket's file is there a moment before anybody listens. */
static bool
answers(const struct house *h)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool connected;

	CU_ASSERT_FATAL(fd != -1 && strlen(h->path) < sizeof address.sun_path);
	memcpy(address.sun_path, h->path, strlen(h->path));
	connected = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
	(void)close(fd);
	return connected;
}

static void
open_house(struct house *h)
{
	static const struct breaker_rules rules = { .slow_ms = 60000,
		.failure_pct = 100,
		.reset_ms = 10,
		.volume = 1000,
		.probe_lease_ms = 100 };
	static unsigned n;
	const int64_t until = clock_mono_ms() + PATIENCE_MS;
	struct shards_options o = {
		.urls = h->url, .timeout_ms = TIMEOUT_MS, .rules = &rules, .max_connections = 2
	};

	(void)snprintf(h->dir, sizeof h->dir, "%s/r%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(h->dir, 0700), 0);
	(void)snprintf(h->path, sizeof h->path, "%s/s", h->dir);
	(void)snprintf(h->url, sizeof h->url, "unix:%s", h->path);
	h->pid = fork();
	if (h->pid == 0)
		serve(h);
	while (!answers(h) && clock_mono_ms() < until && waitpid(h->pid, NULL, WNOHANG) == 0)
		(void)poll(NULL, 0, 5);
	CU_ASSERT_FATAL(answers(h));
	h->guards = o.guards = aligned_alloc(ALIGN, guards_size());
	guards_init(h->guards);
	CU_ASSERT_EQUAL_FATAL(shards_open(&o, &h->shards), ERR_OK);
}

static void
close_house(struct house *h)
{
	shards_close(&h->shards);
	free(h->guards);
	(void)kill(h->pid, SIGKILL);
	(void)waitpid(h->pid, NULL, 0);
	(void)unlink(h->path);
}

static struct quota_grant
take(struct house *h, const struct quota_bucket *b, uint64_t want)
{
	struct quota_grant g;

	CU_ASSERT_EQUAL(quota_redis_take(h->shards, b, want, clock_mono_ms(), &g), ERR_OK);
	return g;
}

static struct redis_reply *
call(struct house *h, const struct slice *argv, size_t argc)
{
	struct redis_reply *reply = NULL;

	CU_ASSERT_EQUAL(shards_call(h->shards, 0, argv, argc, clock_mono_ms(), &reply), ERR_OK);
	return reply;
}

static void
a_bucket_gives_its_burst_and_says_when_the_next_comes(void)
{
	struct house h;
	const struct quota_bucket b = {
		.key = SLICE("b"), .quota = 10, .window_us = hour_us, .burst = 25
	};
	struct quota_grant g;

	open_house(&h);
	g = take(&h, &b, 1);
	CU_ASSERT_EQUAL(g.granted, 1);
	CU_ASSERT_EQUAL(g.remaining, 24);
	CU_ASSERT_EQUAL(g.retry_us, 0);
	CU_ASSERT_TRUE(g.reset_us > hour_us / 10 - second_us && g.reset_us <= hour_us / 10);
	g = take(&h, &b, 100);
	CU_ASSERT_EQUAL(g.granted, 24);
	CU_ASSERT_EQUAL(g.remaining, 0);
	CU_ASSERT_TRUE(g.retry_us > 0 && g.retry_us <= hour_us / 10);
	g = take(&h, &b, 1);
	CU_ASSERT_EQUAL(g.granted, 0);
	CU_ASSERT_TRUE(g.retry_us > 0 && g.retry_us <= hour_us / 10);
	close_house(&h);
}

static void
looking_takes_nothing(void)
{
	struct house h;
	const struct quota_bucket b = {
		.key = SLICE("b"), .quota = 10, .window_us = hour_us, .burst = 5
	};

	open_house(&h);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(take(&h, &b, 0).remaining, 5);
	CU_ASSERT_EQUAL(take(&h, &b, 5).granted, 5);
	CU_ASSERT_EQUAL(take(&h, &b, 0).remaining, 0);
	close_house(&h);
}

/* One at a time for a while: never more than burst + rate x time, and nearly that. */
static void
a_rate_that_is_no_whole_number_of_microseconds_is_kept(void)
{
	struct house h;
	const struct quota_bucket b = {
		.key = SLICE("b"), .quota = 700, .window_us = second_us, .burst = 7
	};
	const int64_t begun = clock_mono_ns();
	uint64_t got = 0;
	int64_t took;

	open_house(&h);
	while (clock_mono_ns() - begun < 500 * INT64_C(1000000))
		got += take(&h, &b, 1).granted;
	took = clock_mono_ns() - begun;
	CU_ASSERT_TRUE(got <= 7 + (uint64_t)took * 700 / 1000000000 + 1);
	CU_ASSERT_TRUE(got >= 7);
	close_house(&h);
}

static void
what_is_given_back_is_there_again_and_never_more_than_full(void)
{
	struct house h;
	const struct quota_bucket b = {
		.key = SLICE("b"), .quota = 10, .window_us = hour_us, .burst = 10
	};

	open_house(&h);
	(void)take(&h, &b, 8);
	CU_ASSERT_EQUAL(quota_redis_give_back(h.shards, &b, 3, clock_mono_ms()), ERR_OK);
	CU_ASSERT_EQUAL(take(&h, &b, 0).remaining, 5);
	CU_ASSERT_EQUAL(quota_redis_give_back(h.shards, &b, 100, clock_mono_ms()), ERR_OK);
	CU_ASSERT_EQUAL(take(&h, &b, 100).granted, 10);
	close_house(&h);
}

static void
a_full_bucket_leaves_no_key_behind(void)
{
	struct house h;
	const struct quota_bucket b = {
		.key = SLICE("b"), .quota = 1000, .window_us = second_us, .burst = 5
	};
	const struct slice exists[] = { SLICE("EXISTS"), SLICE("b") };
	const int64_t until = clock_mono_ms() + PATIENCE_MS;
	struct redis_reply *reply;
	int64_t there = 1;

	open_house(&h);
	(void)take(&h, &b, 5);
	while (there != 0 && clock_mono_ms() < until) {
		reply = call(&h, exists, 2);
		there = redis_reply_integer(reply);
		redis_reply_free(&reply);
	}
	CU_ASSERT_EQUAL(there, 0);
	CU_ASSERT_EQUAL(take(&h, &b, 100).granted, 5);
	close_house(&h);
}

/* A clock that was set back by a day: the bucket is empty, not closed for a day. */
static void
a_clock_that_was_set_back_costs_one_bucket(void)
{
	struct house h;
	const struct quota_bucket b = {
		.key = SLICE("b"), .quota = 10, .window_us = second_us, .burst = 10
	};
	const struct slice set[] = { SLICE("SET"), SLICE("b"), SLICE("9e15") };
	struct redis_reply *reply;
	struct quota_grant g;

	open_house(&h);
	reply = call(&h, set, 3);
	redis_reply_free(&reply);
	g = take(&h, &b, 1);
	CU_ASSERT_EQUAL(g.granted, 0);
	CU_ASSERT_TRUE(g.retry_us <= second_us / 10);
	close_house(&h);
}

/* As if all of ${b} had been taken in the window before this one. */
static void
age_by_a_window(struct house *h, const struct quota_bucket *b)
{
	const struct slice get[] = { SLICE("HGET"), b->key, SLICE("i") };
	struct slice set[] = { SLICE("HSET"), b->key, SLICE("i"), { NULL, 0 } };
	struct redis_reply *reply = call(h, get, 3);
	char index[I64_BYTES];

	set[3] = (struct slice){ index, i64_write(redis_reply_integer(reply) - 1, index) };
	redis_reply_free(&reply);
	reply = call(h, set, 4);
	redis_reply_free(&reply);
}

static void
a_window_gives_its_limit_and_the_last_ones_count_fades(void)
{
	struct house h;
	const int64_t month_us = 30 * 24 * hour_us; /* does not end during a test */
	const struct quota_bucket b = {
		.key = SLICE("w"), .quota = 20, .window_us = month_us, .sliding = true
	};
	struct quota_grant g;
	uint64_t faded;

	open_house(&h);
	g = take(&h, &b, 15);
	CU_ASSERT_EQUAL(g.granted, 15);
	CU_ASSERT_EQUAL(g.remaining, 5);
	g = take(&h, &b, 15);
	CU_ASSERT_EQUAL(g.granted, 5);
	CU_ASSERT_TRUE(g.retry_us >= g.reset_us); /* not before the next window */
	CU_ASSERT_EQUAL(take(&h, &b, 1).granted, 0);
	age_by_a_window(&h, &b);
	g = take(&h, &b, 0);
	faded = (uint64_t)(20 * (month_us - g.reset_us) / month_us);
	CU_ASSERT_EQUAL(g.remaining, faded);
	CU_ASSERT_EQUAL(take(&h, &b, 100).granted, faded);
	g = take(&h, &b, 1);
	CU_ASSERT_EQUAL(g.granted, 0);
	CU_ASSERT_TRUE(g.retry_us <= month_us / 20 + 1); /* one more in the time of one */
	age_by_a_window(&h, &b);
	age_by_a_window(&h, &b);
	CU_ASSERT_EQUAL(take(&h, &b, 100).granted, 20);
	close_house(&h);
}

static void
hosts_are_counted_by_their_heartbeats(void)
{
	struct house h;
	const int64_t now_ms = clock_mono_ms();
	uint64_t hosts = 0;

	open_house(&h);
	CU_ASSERT_EQUAL(quota_redis_beat(h.shards, 0, "aaaaaaaaaaaaaaaa", now_ms, &hosts), ERR_OK);
	CU_ASSERT_EQUAL(hosts, 1);
	CU_ASSERT_EQUAL(quota_redis_beat(h.shards, 0, "bbbbbbbbbbbbbbbb", now_ms, &hosts), ERR_OK);
	CU_ASSERT_EQUAL(quota_redis_beat(h.shards, 0, "aaaaaaaaaaaaaaaa", now_ms, &hosts), ERR_OK);
	CU_ASSERT_EQUAL(hosts, 2);
	close_house(&h);
}

static void
a_key_that_somebody_else_has_made_is_an_error(void)
{
	struct house h;
	const struct quota_bucket b = {
		.key = SLICE("list"), .quota = 1, .window_us = second_us, .burst = 1
	};
	const struct slice push[] = { SLICE("RPUSH"), SLICE("list"), SLICE("x") };
	struct redis_reply *reply;
	struct quota_grant g;

	open_house(&h);
	reply = call(&h, push, 3);
	redis_reply_free(&reply);
	CU_ASSERT_EQUAL(quota_redis_take(h.shards, &b, 1, clock_mono_ms(), &g), ERR_IO);
	CU_ASSERT_EQUAL(g.granted, 0);
	close_house(&h);
}

UNIT_SUITE(quota_redis, TEST(a_bucket_gives_its_burst_and_says_when_the_next_comes),
    TEST(looking_takes_nothing), TEST(a_rate_that_is_no_whole_number_of_microseconds_is_kept),
    TEST(what_is_given_back_is_there_again_and_never_more_than_full),
    TEST(a_full_bucket_leaves_no_key_behind), TEST(a_clock_that_was_set_back_costs_one_bucket),
    TEST(a_window_gives_its_limit_and_the_last_ones_count_fades),
    TEST(hosts_are_counted_by_their_heartbeats),
    TEST(a_key_that_somebody_else_has_made_is_an_error));
