/*
 * Goal: a connection ends when its front does, never before its answer was read, and nobody who asks is forgotten.
 * The front is this test; what a request means is an order to a fake.
 */
#include "runtime/reactor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/fcgi.h"
#include "pipeline/exchange.h"
#include "tests/support/records.h"
#include "tests/support/unit.h"

enum { TURNS_MAX = 2000, ANSWER_BYTES = 4096 };

struct hall {
	struct reactor *reactor;
	int listener;
	bool hold; /* requests stay in hand */
	struct exchange *in_hand;
	unsigned requests, gone, given, refused;
	struct sockaddr_un address;
};

static struct exchange *
take(void *ctx)
{
	struct exchange *x = calloc(1, sizeof *x);

	(void)ctx;
	if (x != NULL)
		arena_init(&x->arena, 65536);
	return x;
}

static void
request_came(void *ctx, struct exchange *x)
{
	struct hall *h = ctx;

	h->requests++;
	h->in_hand = x;
	x->response.status = 404;
	x->response.body = SLICE("nothing here");
	if (!h->hold)
		reactor_reply(h->reactor, x);
}

static void
gone(void *ctx, struct exchange *x)
{
	struct hall *h = ctx;

	h->gone++;
	reactor_detach(h->reactor, x);
}

static void
give(void *ctx, struct exchange *x)
{
	struct hall *h = ctx;

	h->given++;
	h->in_hand = NULL;
	arena_free(&x->arena);
	free(x);
}

static void
refused(void *ctx)
{
	struct hall *h = ctx;

	h->refused++;
}

static void
hall_open(struct hall *h)
{
	static const struct reactor_ops ops = { .take = take,
		.request = request_came,
		.gone = gone,
		.refused = refused,
		.give = give };
	static unsigned halls;
	const struct reactor_options o = { .ops = &ops, .ctx = h, .arrive_ms = 60000 };

	fcgi_init();
	*h = (struct hall){ .address.sun_family = AF_UNIX };
	(void)snprintf(
	    h->address.sun_path, sizeof h->address.sun_path, "%s/r%u", unit_dir(), halls++);
	h->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	CU_ASSERT_EQUAL_FATAL(
	    bind(h->listener, (struct sockaddr *)&h->address, sizeof h->address), 0);
	CU_ASSERT_EQUAL_FATAL(listen(h->listener, 16), 0);
	CU_ASSERT_EQUAL_FATAL(reactor_open(&o, &h->reactor), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(reactor_listen(h->reactor, h->listener, NULL, 0), ERR_OK);
}

static void
hall_close(struct hall *h)
{
	reactor_close(&h->reactor);
	CU_ASSERT_EQUAL(h->given, h->requests);
	(void)close(h->listener);
}

static int
front_open(struct hall *h)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&h->address, sizeof h->address), 0);
	return fd;
}

static void
put(int front, const void *bytes, size_t n)
{
	CU_ASSERT_EQUAL_FATAL(send(front, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void
put_request(int front)
{
	unsigned char bytes[256];

	put(front, bytes, request(bytes, begin_keep, NULL, 0));
}

static void
turn_until_no_connection(struct hall *h)
{
	for (int i = 0; i < TURNS_MAX && (i == 0 || reactor_connections(h->reactor) > 0); i++)
		reactor_turn(h->reactor, 5);
	CU_ASSERT_EQUAL(reactor_connections(h->reactor), 0);
}

/* All that was answered, up to the end of the stream; false: the stream has not ended. */
static bool
read_to_end(int front, char answer[ANSWER_BYTES])
{
	size_t len = 0;
	ssize_t n;

	while ((n = recv(front, answer + len, ANSWER_BYTES - 1 - len, MSG_DONTWAIT)) > 0)
		len += (size_t)n;
	answer[len] = '\0';
	return n == 0 && memmem(answer, len, "Status: 404", 11) != NULL;
}

static void
test_a_kept_connection_carries_one_request_after_the_other(void)
{
	struct hall h;
	int front;

	hall_open(&h);
	front = front_open(&h);
	for (unsigned i = 1; i <= 3; i++) {
		put_request(front);
		for (int k = 0; k < TURNS_MAX && h.requests < i; k++)
			reactor_turn(h.reactor, 5);
		CU_ASSERT_EQUAL(h.given, i);
	}
	CU_ASSERT_EQUAL(reactor_connections(h.reactor), 1);
	(void)close(front);
	turn_until_no_connection(&h);
	hall_close(&h);
}

static void
test_who_finishes_sending_with_the_request_is_answered_and_then_closed(void)
{
	char answer[ANSWER_BYTES];
	struct hall h;
	int front;

	hall_open(&h);
	front = front_open(&h);
	put_request(front);
	(void)shutdown(front, SHUT_WR);
	turn_until_no_connection(&h);
	CU_ASSERT_TRUE(read_to_end(front, answer));
	(void)close(front);
	hall_close(&h);
}

static void
test_who_leaves_together_with_the_request_is_known_to_be_gone(void)
{
	struct hall h;
	int front;

	hall_open(&h);
	h.hold = true;
	front = front_open(&h);
	put_request(front);
	(void)close(front);
	turn_until_no_connection(&h);
	CU_ASSERT_EQUAL(h.requests, 1);
	CU_ASSERT_EQUAL(h.gone, 1);
	hall_close(&h);
}

static void
test_who_leaves_while_the_request_is_in_hand_is_gone_once(void)
{
	struct hall h;
	int front;

	hall_open(&h);
	h.hold = true;
	front = front_open(&h);
	put_request(front);
	for (int i = 0; i < TURNS_MAX && h.requests == 0; i++)
		reactor_turn(h.reactor, 5);
	(void)close(front);
	turn_until_no_connection(&h);
	CU_ASSERT_EQUAL(h.gone, 1);
	hall_close(&h);
}

static void
test_a_request_that_is_cut_off_ends_the_connection(void)
{
	unsigned char bytes[256];
	struct hall h;
	int front;

	hall_open(&h);
	front = front_open(&h);
	put(front, bytes, request_head(bytes, begin_keep));
	(void)shutdown(front, SHUT_WR);
	turn_until_no_connection(&h);
	CU_ASSERT_EQUAL(h.requests, 0);
	(void)close(front);
	hall_close(&h);
}

/* Sends ${n} bytes while the reactor turns, as a front does that reads no answer before it has sent all. */
static void
send_all(struct hall *h, int front, const unsigned char *bytes, size_t n)
{
	ssize_t sent;

	for (int i = 0; i < TURNS_MAX && n > 0; i++) {
		sent = send(front, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent == -1 && errno != EAGAIN)
			break;
		if (sent > 0) {
			bytes += sent;
			n -= (size_t)sent;
		}
		reactor_turn(h->reactor, 0);
	}
	CU_ASSERT_EQUAL(n, 0);
}

static void
test_an_answer_without_its_body_can_be_read_after_all_was_sent(void)
{
	enum { BODY = 4 << 20 };
	unsigned char *bytes = calloc(1, 2 * BODY);
	char answer[ANSWER_BYTES];
	struct hall h;
	int front;

	hall_open(&h);
	front = front_open(&h);
	send_all(
	    &h, front, bytes, request(bytes, begin_keep, (const char *)bytes + BODY, BODY / 2));
	CU_ASSERT_EQUAL(h.requests, 1);
	CU_ASSERT_TRUE(read_to_end(front, answer));
	CU_ASSERT_EQUAL(reactor_connections(h.reactor), 1);
	(void)close(front);
	turn_until_no_connection(&h);
	hall_close(&h);
	free(bytes);
}

static void
test_parameters_beyond_measure_are_answered_although_they_still_come(void)
{
	enum { PARAMS = 1 << 20, RECORD = 65000 };
	unsigned char *bytes = calloc(1, PARAMS + 2 * RECORD), *content = calloc(1, RECORD);
	size_t n = record(bytes, 1, 1, begin_keep, 8, 0);
	struct hall h;
	char answer[ANSWER_BYTES];
	int front;

	while (n < PARAMS)
		n += record(bytes + n, 4, 1, content, RECORD, 0);
	hall_open(&h);
	front = front_open(&h);
	send_all(&h, front, bytes, n);
	(void)read_to_end(front, answer);
	CU_ASSERT_PTR_NOT_NULL(memmem(answer, sizeof answer, "Status: 431", 11));
	CU_ASSERT_EQUAL(h.refused, 1);
	(void)close(front);
	turn_until_no_connection(&h);
	hall_close(&h);
	free(content);
	free(bytes);
}

static void
test_a_fast_stop_closes_all_but_what_is_in_hand(void)
{
	struct hall h;
	char answer[ANSWER_BYTES];
	int busy, idle;

	hall_open(&h);
	h.hold = true;
	idle = front_open(&h);
	busy = front_open(&h);
	put_request(busy);
	for (int i = 0; i < TURNS_MAX && h.requests == 0; i++)
		reactor_turn(h.reactor, 5);
	CU_ASSERT_EQUAL(reactor_connections(h.reactor), 2);
	reactor_drain(h.reactor, true);
	CU_ASSERT_EQUAL(reactor_connections(h.reactor), 1);
	reactor_reply(h.reactor, h.in_hand);
	CU_ASSERT_EQUAL(reactor_connections(h.reactor), 0);
	CU_ASSERT_TRUE(read_to_end(busy, answer));
	(void)close(busy);
	(void)close(idle);
	hall_close(&h);
}

/* Descriptors that all epoll sets of this process watch. */
static unsigned
watched(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		char path[64], line[256];
		FILE *f;

		(void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
		f = fopen(path, "r");
		while (f != NULL && fgets(line, sizeof line, f) != NULL)
			n += strncmp(line, "tfd:", 4) == 0;
		if (f != NULL)
			(void)fclose(f);
	}
	return n;
}

/*
 * A supervisor forks while it is asked on its admin socket, and until the child's exec both have the connection: what
 * was only closed stayed in the epoll set, and its next event was for freed memory.
 */
static void
test_a_closed_connection_is_watched_no_more_though_a_child_still_has_it(void)
{
	struct hall h;
	int front, status;
	unsigned before;
	pid_t child;

	hall_open(&h);
	before = watched();
	front = front_open(&h);
	put_request(front);
	for (int i = 0; i < TURNS_MAX && h.requests < 1; i++)
		reactor_turn(h.reactor, 5);
	CU_ASSERT_EQUAL(watched(), before + 1);
	child = fork();
	if (child == 0) {
		for (;;)
			(void)pause();
	}
	(void)shutdown(front, SHUT_RDWR);
	turn_until_no_connection(&h);
	CU_ASSERT_EQUAL(watched(), before);
	reactor_turn(h.reactor, 5);
	(void)kill(child, SIGKILL);
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	(void)close(front);
	hall_close(&h);
}

UNIT_SUITE(reactor, TEST(test_a_closed_connection_is_watched_no_more_though_a_child_still_has_it),
    TEST(test_a_kept_connection_carries_one_request_after_the_other),
    TEST(test_who_finishes_sending_with_the_request_is_answered_and_then_closed),
    TEST(test_who_leaves_together_with_the_request_is_known_to_be_gone),
    TEST(test_who_leaves_while_the_request_is_in_hand_is_gone_once),
    TEST(test_a_request_that_is_cut_off_ends_the_connection),
    TEST(test_an_answer_without_its_body_can_be_read_after_all_was_sent),
    TEST(test_parameters_beyond_measure_are_answered_although_they_still_come),
    TEST(test_a_fast_stop_closes_all_but_what_is_in_hand));
