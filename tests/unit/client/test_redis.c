/* Goal: whatever a Redis does or fails to do, a call ends by its deadline, and no reply is taken for another's. */
#include "client/redis.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/unit.h"

/*
 * A Redis of our own: it reads as many commands as there are lines, and answers each with its line's bytes.
 */
enum { LINES_MAX = 4, SEEN_BYTES = 4096, SOON_MS = 10000, SHORT_MS = 60 };

struct fake {
	const char *replies[LINES_MAX]; /* up to a NULL; then it is silent */
	bool trickles;			/* one byte of ':' digits each 5 ms, for ever */
	bool hangs_up;			/* after the last reply */
	char path[108];
	char seen[SEEN_BYTES];
	int listening;
	pthread_t thread;
	_Atomic bool ends;
};

/* A command has as many CRLFs as it says: "*N" and two for each part. */
static bool
is_whole(const char *bytes)
{
	int lines = 0, want = 1 + 2 * atoi(bytes + 1);

	while ((bytes = strstr(bytes, "\r\n")) != NULL) {
		bytes += 2;
		lines++;
	}
	return lines >= want;
}

static bool
read_command(struct fake *f, int fd)
{
	char bytes[2048] = "";
	size_t len = 0;
	ssize_t n;

	do {
		n = recv(fd, bytes + len, sizeof bytes - 1 - len, 0);
		if (n <= 0)
			return false;
		len += (size_t)n;
	} while (!is_whole(bytes));
	strncat(f->seen, bytes, sizeof f->seen - strlen(f->seen) - 1);
	return true;
}

static void
serve(struct fake *f, int fd)
{
	for (size_t i = 0; i < LINES_MAX && f->replies[i] != NULL; i++)
		if (!read_command(f, fd) ||
		    send(fd, f->replies[i], strlen(f->replies[i]), MSG_NOSIGNAL) < 0)
			return;
	if (f->hangs_up)
		return;
	while (!f->ends) {
		if (f->trickles && send(fd, f->seen[0] == '\0' ? ":" : "1", 1, MSG_NOSIGNAL) < 0)
			return;
		f->seen[0] = 'x';
		(void)poll(NULL, 0, 5);
	}
}

static void *
fake_run(void *arg)
{
	struct fake *f = arg;

	while (!f->ends) {
		struct pollfd p = { .fd = f->listening, .events = POLLIN };
		int fd;

		if (poll(&p, 1, 5) != 1)
			continue;
		fd = accept(f->listening, NULL, NULL);
		serve(f, fd);
		(void)close(fd);
	}
	return NULL;
}

static void
fake_start(struct fake *f)
{
	static unsigned n;
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	(void)snprintf(f->path, sizeof f->path, "%s/redis-%u", unit_dir(), n++);
	memcpy(un.sun_path, f->path, strlen(f->path));
	f->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(bind(f->listening, (struct sockaddr *)&un, sizeof un), 0);
	CU_ASSERT_EQUAL_FATAL(listen(f->listening, 8), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&f->thread, NULL, fake_run, f), 0);
}

static void
fake_end(struct fake *f)
{
	f->ends = true;
	(void)pthread_join(f->thread, NULL);
	(void)close(f->listening);
	(void)unlink(f->path);
}

static int64_t
in_ms(int64_t ms)
{
	return clock_mono_ms() + ms;
}

static struct redis *
connect_to(const struct fake *f)
{
	const struct redis_address a = { .path = f->path };
	struct redis *r;

	CU_ASSERT_EQUAL_FATAL(redis_connect(&a, in_ms(SOON_MS), &r), ERR_OK);
	return r;
}

static enum err
ping(struct redis *r, int64_t ms, struct redis_reply **out)
{
	const struct slice argv[] = { SLICE("PING") };

	return redis_call(r, argv, 1, in_ms(ms), out);
}

/* What one PING comes to when it is answered with ${bytes}. */
static enum err
ping_answered(const char *bytes, struct redis_reply **out)
{
	struct fake f = { .replies = { bytes } };
	struct redis *r;
	enum err rc;

	fake_start(&f);
	r = connect_to(&f);
	rc = ping(r, SHORT_MS, out);
	redis_close(&r);
	fake_end(&f);
	return rc;
}

static void
every_kind_of_reply_is_read(void)
{
	struct redis_reply *reply;

	CU_ASSERT_EQUAL_FATAL(
	    ping_answered(
		"*6\r\n:-7\r\n$2\r\n42\r\n+OK\r\n-ERR no\r\n$-1\r\n*1\r\n$0\r\n\r\n", &reply),
	    ERR_OK);
	CU_ASSERT_EQUAL(redis_reply_type(reply), REDIS_ARRAY);
	CU_ASSERT_EQUAL(redis_reply_count(reply), 6);
	CU_ASSERT_EQUAL(redis_reply_integer(redis_reply_at(reply, 0)), -7);
	CU_ASSERT_EQUAL(redis_reply_integer(redis_reply_at(reply, 1)), 42);
	CU_ASSERT_EQUAL(redis_reply_type(redis_reply_at(reply, 2)), REDIS_STATUS);
	CU_ASSERT_TRUE(slice_eq_cstr(redis_reply_text(redis_reply_at(reply, 3)), "ERR no"));
	CU_ASSERT_EQUAL(redis_reply_type(redis_reply_at(reply, 4)), REDIS_NIL);
	CU_ASSERT_EQUAL(redis_reply_count(redis_reply_at(reply, 5)), 1);
	CU_ASSERT_EQUAL(redis_reply_text(redis_reply_at(redis_reply_at(reply, 5), 0)).len, 0);
	redis_reply_free(&reply);
}

static void
a_reply_of_another_shape_reads_as_nothing(void)
{
	struct redis_reply *reply;

	CU_ASSERT_EQUAL_FATAL(ping_answered(":1\r\n", &reply), ERR_OK);
	CU_ASSERT_EQUAL(redis_reply_count(reply), 0);
	CU_ASSERT_PTR_NULL(redis_reply_at(reply, 0));
	CU_ASSERT_PTR_NULL(redis_reply_text(reply).ptr);
	CU_ASSERT_EQUAL(redis_reply_integer(redis_reply_at(redis_reply_at(reply, 3), 1)), 0);
	CU_ASSERT_EQUAL(redis_reply_type(NULL), REDIS_NIL);
	redis_reply_free(&reply);
}

static void
an_error_is_an_answer(void)
{
	struct redis_reply *reply;

	CU_ASSERT_EQUAL_FATAL(ping_answered("-WRONGTYPE not that\r\n", &reply), ERR_OK);
	CU_ASSERT_EQUAL(redis_reply_type(reply), REDIS_ERROR);
	redis_reply_free(&reply);
}

static void
a_redis_that_cannot_serve_is_unavailable_and_its_connection_alive(void)
{
	struct fake f = { .replies = {
			      "-OOM command not allowed\r\n", "-LOADING wait\r\n", "+PONG\r\n" } };
	struct redis *r;
	struct redis_reply *reply;

	fake_start(&f);
	r = connect_to(&f);
	CU_ASSERT_EQUAL(ping(r, SOON_MS, &reply), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(ping(r, SOON_MS, &reply), ERR_UNAVAILABLE);
	CU_ASSERT_PTR_NULL(reply);
	CU_ASSERT_FALSE(redis_is_dead(r));
	CU_ASSERT_EQUAL(ping(r, SOON_MS, &reply), ERR_OK);
	redis_reply_free(&reply);
	redis_close(&r);
	fake_end(&f);
}

static void
a_silent_server_costs_the_deadline_and_the_connection(void)
{
	struct fake f = { .replies = { NULL } };
	struct redis *r;
	struct redis_reply *reply;

	fake_start(&f);
	r = connect_to(&f);
	CU_ASSERT_EQUAL(ping(r, SHORT_MS, &reply), ERR_TIMEOUT);
	CU_ASSERT_TRUE(redis_is_dead(r));
	CU_ASSERT_EQUAL(ping(r, SOON_MS, &reply), ERR_IO);
	redis_close(&r);
	fake_end(&f);
}

static void
a_server_that_trickles_is_as_late_as_a_silent_one(void)
{
	struct fake f = { .trickles = true };
	struct redis *r;
	struct redis_reply *reply;

	fake_start(&f);
	r = connect_to(&f);
	CU_ASSERT_EQUAL(ping(r, SHORT_MS, &reply), ERR_TIMEOUT);
	redis_close(&r);
	fake_end(&f);
}

static void
the_deadline_covers_the_introduction(void)
{
	struct fake f = { .replies = { "+OK\r\n" } }; /* AUTH is answered, SELECT never */
	const struct redis_address a = {
		.path = f.path, .user = "u", .password = "p", .database = 3
	};
	struct redis *r;

	fake_start(&f);
	CU_ASSERT_EQUAL(redis_connect(&a, in_ms(SHORT_MS), &r), ERR_TIMEOUT);
	CU_ASSERT_PTR_NULL(r);
	fake_end(&f);
	CU_ASSERT_PTR_NOT_NULL(strstr(f.seen, "AUTH\r\n$1\r\nu\r\n$1\r\np\r\n"));
}

static void
a_refused_password_is_unavailable(void)
{
	struct fake f = { .replies = { "-WRONGPASS no\r\n" } };
	const struct redis_address a = { .path = f.path, .password = "p" };
	struct redis *r;

	fake_start(&f);
	CU_ASSERT_EQUAL(redis_connect(&a, in_ms(SOON_MS), &r), ERR_UNAVAILABLE);
	fake_end(&f);
}

static void
nobody_there_is_unavailable_at_once(void)
{
	const struct redis_address unix_socket = { .path = "/nowhere/redis.sock" };
	const struct redis_address bad = { .host = "not numeric", .port = 1 };
	struct redis *r;

	CU_ASSERT_EQUAL(redis_connect(&unix_socket, in_ms(SOON_MS), &r), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(redis_connect(&bad, in_ms(SOON_MS), &r), ERR_UNAVAILABLE);
}

/* SIGSTOP: the kernel takes connections until the backlog is full, and then says "again". */
static void
a_full_backlog_ends_with_the_deadline(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct redis *kept[8] = { NULL }, *r = NULL;
	const struct redis_address a = { .path = un.sun_path };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	enum err rc = ERR_OK;

	(void)snprintf(un.sun_path, sizeof un.sun_path, "%s/full", unit_dir());
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 1), 0);
	for (size_t i = 0; i < 8 && rc == ERR_OK; i++)
		rc = redis_connect(&a, in_ms(SHORT_MS), &kept[i]);
	CU_ASSERT_EQUAL(rc, ERR_TIMEOUT);
	for (size_t i = 0; i < 8; i++)
		redis_close(&kept[i]);
	redis_close(&r);
	(void)close(fd);
	(void)unlink(un.sun_path);
}

static void
a_closed_connection_is_an_error_and_no_signal(void)
{
	struct fake f = { .replies = { "+PONG\r\n" }, .hangs_up = true };
	struct redis *r;
	struct redis_reply *reply;

	fake_start(&f);
	r = connect_to(&f);
	CU_ASSERT_EQUAL(ping(r, SOON_MS, &reply), ERR_OK);
	redis_reply_free(&reply);
	while (redis_is_quiet(r))
		(void)poll(NULL, 0, 1);
	CU_ASSERT_EQUAL(ping(r, SOON_MS, &reply), ERR_IO);
	CU_ASSERT_TRUE(redis_is_dead(r));
	redis_close(&r);
	fake_end(&f);
}

static void
what_nobody_asked_for_makes_a_kept_connection_loud(void)
{
	struct fake f = { .replies = { "+PONG\r\n+AGAIN\r\n" } };
	struct redis *r;
	struct redis_reply *reply;

	fake_start(&f);
	r = connect_to(&f);
	CU_ASSERT_TRUE(redis_is_quiet(r));
	CU_ASSERT_EQUAL(ping(r, SOON_MS, &reply), ERR_OK);
	CU_ASSERT_FALSE(redis_is_quiet(r));
	redis_reply_free(&reply);
	redis_close(&r);
	fake_end(&f);
}

static void
hostile_replies_are_errors_and_cost_little(void)
{
	static const char *const hostile[] = {
		"HTTP/1.1 400 Bad Request\r\n",
		"*2147483647\r\n",
		"*1048577\r\n",
		"*1000000\r\n*1000000\r\n*1000000\r\n",
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
		"$-7\r\n",
		":twelve\r\n",
	};
	struct redis_reply *reply;

	for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
		CU_ASSERT_EQUAL(ping_answered(hostile[i], &reply), ERR_IO);
		CU_ASSERT_PTR_NULL(reply);
	}
}

static void
a_script_that_redis_does_not_have_is_sent_whole(void)
{
	static const struct redis_script script = { "answer", "return 42", false };
	const struct slice keys[] = { SLICE("k") }, args[] = { SLICE("a") };
	struct fake f = { .replies = { "-NOSCRIPT No matching script.\r\n", ":42\r\n" } };
	struct redis *r;
	struct redis_reply *reply;

	fake_start(&f);
	r = connect_to(&f);
	CU_ASSERT_EQUAL(redis_eval(r, &script, keys, 1, args, 1, in_ms(SOON_MS), &reply), ERR_OK);
	CU_ASSERT_EQUAL(redis_reply_integer(reply), 42);
	redis_reply_free(&reply);
	redis_close(&r);
	fake_end(&f);
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(f.seen, "EVALSHA\r\n$40\r\n1fa00e76656cc152ad327c13fe365858fd7be306\r\n$"
			   "1\r\n1\r\n$1\r\nk\r\n$1\r\na\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(f.seen, "EVAL\r\n$9\r\nreturn 42\r\n"));
}

static void
messages_come_one_by_one(void)
{
	struct fake f = { .replies = { "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
				       "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\none\r\n"
				       "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\ntwo\r\n" } };
	const struct slice subscribe[] = { SLICE("SUBSCRIBE"), SLICE("c") };
	struct redis *r;
	struct redis_reply *reply;

	fake_start(&f);
	r = connect_to(&f);
	CU_ASSERT_EQUAL(redis_call(r, subscribe, 2, in_ms(SOON_MS), &reply), ERR_OK);
	redis_reply_free(&reply);
	CU_ASSERT_EQUAL(redis_message(r, in_ms(SOON_MS), &reply), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(redis_reply_text(redis_reply_at(reply, 2)), "one"));
	redis_reply_free(&reply);
	CU_ASSERT_EQUAL(redis_message(r, in_ms(SOON_MS), &reply), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(redis_reply_text(redis_reply_at(reply, 2)), "two"));
	redis_reply_free(&reply);
	CU_ASSERT_EQUAL(redis_message(r, in_ms(SHORT_MS), &reply), ERR_TIMEOUT);
	CU_ASSERT_FALSE(redis_is_dead(r));
	redis_close(&r);
	fake_end(&f);
}

UNIT_SUITE(redis, TEST(every_kind_of_reply_is_read),
    TEST(a_reply_of_another_shape_reads_as_nothing), TEST(an_error_is_an_answer),
    TEST(a_redis_that_cannot_serve_is_unavailable_and_its_connection_alive),
    TEST(a_silent_server_costs_the_deadline_and_the_connection),
    TEST(a_server_that_trickles_is_as_late_as_a_silent_one),
    TEST(the_deadline_covers_the_introduction), TEST(a_refused_password_is_unavailable),
    TEST(nobody_there_is_unavailable_at_once), TEST(a_full_backlog_ends_with_the_deadline),
    TEST(a_closed_connection_is_an_error_and_no_signal),
    TEST(what_nobody_asked_for_makes_a_kept_connection_loud),
    TEST(hostile_replies_are_errors_and_cost_little),
    TEST(a_script_that_redis_does_not_have_is_sent_whole), TEST(messages_come_one_by_one));
