/*
 * Goal: no bytes make libfcgi block or accept; whole requests are taken, replies are framed right
 * at any size and through any number of partial writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/fcgi.h"
#include "tests/support/records.h"
#include "tests/support/unit.h"

struct pair {
	struct fcgi *c;
	int front;
};

static void
pair_open(struct pair *p)
{
	int fds[2];

	fcgi_init();
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CU_ASSERT_EQUAL_FATAL(fcgi_open(fds[0], &p->c), ERR_OK);
	p->front = fds[1];
}

static void
pair_close(struct pair *p)
{
	fcgi_close(&p->c);
	(void)close(p->front);
}

static const unsigned char begin_once[8] = { 0, 1, 0 }, begin_filter[8] = { 0, 3, 1 };

static void
put(struct pair *p, const void *bytes, size_t len)
{
	CU_ASSERT_EQUAL_FATAL(send(p->front, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static bool
has(const char *const *envp, const char *entry)
{
	while (*envp != NULL && strcmp(*envp, entry) != 0)
		envp++;
	return *envp != NULL;
}

static void
test_a_request_that_comes_byte_by_byte_is_partial_until_it_is_whole(void)
{
	unsigned char bytes[512];
	const size_t n = request(bytes, begin_keep, "abc", 3);
	struct pair p;

	pair_open(&p);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_NOTHING);
	for (size_t i = 0; i < n; i++) {
		put(&p, bytes + i, 1);
		CU_ASSERT_EQUAL(fcgi_look(p.c), i + 1 < n ? FCGI_PARTIAL : FCGI_WHOLE);
	}
	pair_close(&p);
}

static void
test_parameters_and_body_arrive_and_the_connection_is_kept(void)
{
	unsigned char bytes[512], reply[256];
	const char *const *envp = NULL;
	char body[16];
	size_t total = 0;
	struct pair p;

	pair_open(&p);
	for (int round = 0; round < 3; round++) {
		put(&p, bytes, request(bytes, begin_keep, "abc", 3));
		CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_WHOLE);
		CU_ASSERT_EQUAL_FATAL(fcgi_accept(p.c, &envp), ERR_OK);
		CU_ASSERT_TRUE(has(envp, "REQUEST_URI=/x"));
		CU_ASSERT_EQUAL(fcgi_body(p.c, body, sizeof body, &total), ERR_OK);
		CU_ASSERT_EQUAL(total, 3);
		CU_ASSERT_EQUAL(memcmp(body, "abc", 3), 0);
		CU_ASSERT_EQUAL(
		    fcgi_reply(p.c, SLICE("Status: 200 OK\r\n\r\n"), SLICE("hello"), false),
		    ERR_OK);
		CU_ASSERT_TRUE(fcgi_end(p.c));
		/* STDOUT of 18 + 5 bytes, empty STDOUT, END_REQUEST. */
		CU_ASSERT_EQUAL(recv(p.front, reply, sizeof reply, 0), 8 + 23 + 8 + 16);
		CU_ASSERT_EQUAL(reply[1], 6);
		CU_ASSERT_EQUAL(reply[5], 23);
		CU_ASSERT_EQUAL(memcmp(reply + 8, "Status: 200 OK\r\n\r\nhello", 23), 0);
		CU_ASSERT_EQUAL(reply[8 + 23 + 8 + 1], 3);
	}
	pair_close(&p);
}

/* A GET without a body by a front that calls itself ${software}, or does not (NULL). */
static size_t
request_from(unsigned char *out, const char *software)
{
	static const char name[] = "SERVER_SOFTWARE";
	size_t n = record(out, 1, 1, begin_keep, 8, 0), len = 0;
	char params[128];

	if (software != NULL)
		len = (size_t)snprintf(params, sizeof params, "%c%c%s%s", (int)sizeof name - 1,
		    (int)strlen(software), name, software);
	if (len > 0)
		n += record(out + n, 4, 1, params, len, 0);
	n += record(out + n, 4, 1, NULL, 0, 0);
	return n + record(out + n, 5, 1, NULL, 0, 0);
}

/* How long the last reply on a connection is to a front that calls itself ${software}. */
static ssize_t
length_of_parting_reply(const char *software)
{
	unsigned char bytes[1024], reply[512];
	const char *const *envp = NULL;
	size_t total = 0;
	struct pair p;
	ssize_t n;

	pair_open(&p);
	put(&p, bytes, request_from(bytes, software));
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_WHOLE);
	CU_ASSERT_EQUAL_FATAL(fcgi_accept(p.c, &envp), ERR_OK);
	CU_ASSERT_EQUAL(fcgi_body(p.c, NULL, 0, &total), ERR_OK);
	CU_ASSERT_EQUAL(
	    fcgi_reply(p.c, SLICE("Status: 200 OK\r\n\r\n"), SLICE("hello"), true), ERR_OK);
	n = recv(p.front, reply, sizeof reply, 0);
	CU_ASSERT_EQUAL(reply[8 + 23 + 8 + 1], 3);
	pair_close(&p);
	return n;
}

static void
test_a_last_reply_has_a_record_behind_its_end_but_for_apache(void)
{
	CU_ASSERT_EQUAL(length_of_parting_reply(NULL), 8 + 23 + 8 + 16 + 8);
	CU_ASSERT_EQUAL(length_of_parting_reply("nginx/1.22.1"), 8 + 23 + 8 + 16 + 8);
	CU_ASSERT_EQUAL(length_of_parting_reply("Apache/2.4.62 (Debian)"), 8 + 23 + 8 + 16);
}

static void
test_a_front_that_does_not_ask_to_keep_is_not_kept(void)
{
	unsigned char bytes[512];
	const char *const *envp = NULL;
	size_t total = 0;
	struct pair p;

	pair_open(&p);
	put(&p, bytes, request(bytes, begin_once, NULL, 0));
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_WHOLE);
	CU_ASSERT_EQUAL_FATAL(fcgi_accept(p.c, &envp), ERR_OK);
	CU_ASSERT_EQUAL(fcgi_body(p.c, NULL, 0, &total), ERR_OK);
	CU_ASSERT_EQUAL(fcgi_reply(p.c, SLICE("Status: 204\r\n\r\n"), SLICE(""), false), ERR_OK);
	CU_ASSERT_FALSE(fcgi_end(p.c));
	pair_close(&p);
}

static void
test_bytes_behind_a_request_end_the_connection_after_the_reply(void)
{
	unsigned char bytes[1024];
	const char *const *envp = NULL;
	size_t n, total = 0;
	struct pair p;

	pair_open(&p);
	n = request(bytes, begin_keep, "abc", 3);
	n += request(bytes + n, begin_keep, "def", 3);
	put(&p, bytes, n);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_WHOLE);
	CU_ASSERT_EQUAL_FATAL(fcgi_accept(p.c, &envp), ERR_OK);
	CU_ASSERT_EQUAL(fcgi_body(p.c, NULL, 0, &total), ERR_OK);
	CU_ASSERT_EQUAL(fcgi_reply(p.c, SLICE("Status: 204\r\n\r\n"), SLICE(""), false), ERR_OK);
	CU_ASSERT_FALSE(fcgi_end(p.c));
	pair_close(&p);
}

static void
test_a_large_body_is_told_before_it_is_read(void)
{
	enum { BODY = 200000 };
	char *body = malloc(BODY), *got = malloc(BODY);
	unsigned char *bytes = malloc(BODY + 4096);
	const char *const *envp = NULL;
	size_t n, sent = 0, total = 0;
	pid_t sender;
	struct pair p;

	for (size_t i = 0; i < BODY; i++)
		body[i] = (char)(i * 31 + i / 257);
	pair_open(&p);
	n = request(bytes, begin_keep, body, BODY);
	(void)fcntl(p.front, F_SETFL, O_NONBLOCK);
	while (sent < n) {
		const ssize_t k = send(p.front, bytes + sent, n - sent, MSG_NOSIGNAL);

		if (k <= 0)
			break;
		sent += (size_t)k;
	}
	CU_ASSERT_TRUE_FATAL(sent > 65536);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_LARGE);
	CU_ASSERT_EQUAL_FATAL(fcgi_accept(p.c, &envp), ERR_OK);
	(void)fcntl(p.front, F_SETFL, 0);
	sender = fork();
	if (sender == 0) {
		(void)send(p.front, bytes + sent, n - sent, MSG_NOSIGNAL);
		_exit(0);
	}
	CU_ASSERT_EQUAL(fcgi_body(p.c, got, BODY, &total), ERR_OK);
	CU_ASSERT_EQUAL(total, BODY);
	CU_ASSERT_EQUAL(memcmp(body, got, BODY), 0);
	pair_close(&p);
	CU_ASSERT_EQUAL(waitpid(sender, NULL, 0), sender);
	free(bytes);
	free(body);
	free(got);
}

/* Apache's records of 8 KiB fill a unix socket before 64 KiB can be peeked at: such a body was waited for in vain. */
static void
test_a_body_that_fills_the_socket_early_is_large(void)
{
	enum { BODY = 200000, HERE = 50000 };
	char *body = calloc(1, BODY);
	unsigned char *bytes = malloc(BODY + 4096);
	struct pair p;

	pair_open(&p);
	(void)request(bytes, begin_keep, body, BODY);
	put(&p, bytes, 20000);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_PARTIAL);
	put(&p, bytes + 20000, HERE - 20000);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_LARGE);
	pair_close(&p);
	free(bytes);
	free(body);
}

/* Sends ${n} bytes of a body from another process, again and again until nobody reads. */
static pid_t
send_without_end(struct pair *p, const unsigned char *bytes, size_t n)
{
	const pid_t pid = fork();

	if (pid != 0)
		return pid;
	fcgi_close(&p->c); /* else our own copy of the other end would never let send() fail */
	(void)alarm(60);
	while (send(p->front, bytes, n, MSG_NOSIGNAL) == (ssize_t)n)
		continue;
	_exit(0);
}

static void
test_a_body_without_end_is_given_up_and_its_sender_heard_out(void)
{
	static const unsigned char zeros[65000];
	unsigned char head[256], *part = malloc(70000);
	const size_t n = record(part, 5, 1, zeros, sizeof zeros, 0);
	const char *const *envp = NULL;
	size_t total = 0;
	pid_t sender;
	struct pair p;

	pair_open(&p);
	put(&p, head, request_head(head, begin_keep));
	put(&p, part, n);
	put(&p, part, n);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_LARGE);
	CU_ASSERT_EQUAL_FATAL(fcgi_accept(p.c, &envp), ERR_OK);
	sender = send_without_end(&p, part, n);
	CU_ASSERT_EQUAL(fcgi_body(p.c, NULL, 0, &total), ERR_TOO_LARGE);
	CU_ASSERT_TRUE(total > 64 << 20 && total < 65 << 20);
	CU_ASSERT_FALSE(fcgi_body_taken(p.c));
	CU_ASSERT_EQUAL(fcgi_reply(p.c, SLICE("Status: 413\r\n\r\n"), SLICE(""), false), ERR_OK);
	CU_ASSERT_FALSE(fcgi_end(p.c));
	fcgi_finish_sending(p.c);
	while (fcgi_discard(p.c)) /* never blocks; enough is enough */
		(void)poll(&(struct pollfd){ .fd = fcgi_fd(p.c), .events = POLLIN }, 1, 10000);
	pair_close(&p);
	CU_ASSERT_EQUAL(waitpid(sender, NULL, 0), sender);
	free(part);
}

static void
test_what_nobody_reads_is_dropped_until_the_front_closes(void)
{
	struct pair p;

	pair_open(&p);
	CU_ASSERT_TRUE(fcgi_discard(p.c));
	put(&p, "anything", 8);
	CU_ASSERT_TRUE(fcgi_discard(p.c));
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_NOTHING);
	put(&p, "more", 4);
	(void)shutdown(p.front, SHUT_WR);
	CU_ASSERT_FALSE(fcgi_discard(p.c));
	pair_close(&p);
}

/* A record header that the end of the peeked bytes cuts in two is no second request. */
static void
test_a_large_body_leaves_the_connection_good_wherever_its_records_end(void)
{
	enum { HEAD = 16 + 24 + 8, FIRST = 65536 - HEAD - 8 - 4, REST = 1000 };
	unsigned char *bytes = calloc(1, 80000), *body = calloc(1, 70000);
	const char *const *envp = NULL;
	size_t n = request_head(bytes, begin_keep), total = 0;
	struct pair p;

	CU_ASSERT_EQUAL(n, HEAD);
	n += record(bytes + n, 5, 1, body, FIRST, 0); /* ends 4 bytes before the peek does */
	n += record(bytes + n, 5, 1, body, REST, 0);
	n += record(bytes + n, 5, 1, NULL, 0, 0);
	pair_open(&p);
	put(&p, bytes, n);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_LARGE);
	CU_ASSERT_EQUAL_FATAL(fcgi_accept(p.c, &envp), ERR_OK);
	CU_ASSERT_EQUAL(fcgi_body(p.c, NULL, 0, &total), ERR_OK);
	CU_ASSERT_EQUAL(total, FIRST + REST);
	CU_ASSERT_EQUAL(fcgi_reply(p.c, SLICE("Status: 204\r\n\r\n"), SLICE(""), false), ERR_OK);
	CU_ASSERT_TRUE(fcgi_end(p.c));
	pair_close(&p);
	free(body);
	free(bytes);
}

/* What must not reach libfcgi. */
static void
test_what_is_not_a_request_is_bad(void)
{
	unsigned char r[8][64];
	size_t n[8] = { 0 };
	struct pair p;

	n[0] = record(r[0], 1, 1, begin_keep, 8, 0);
	r[0][0] = 2;				       /* another version */
	n[1] = record(r[1], 4, 1, "x", 1, 0);	       /* PARAMS first */
	n[2] = record(r[2], 1, 1, begin_filter, 8, 0); /* a role that we do not play */
	n[3] = record(r[3], 1, 1, begin_keep, 8, 0);
	n[3] += record(r[3] + n[3], 4, 2, "x", 1, 0); /* another request's record */
	n[4] = record(r[4], 1, 1, begin_keep, 8, 0);
	n[4] += record(r[4] + n[4], 5, 1, "x", 1, 0); /* STDIN before the end of PARAMS */
	n[5] = record(r[5], 1, 1, begin_keep, 7, 0);  /* a short BEGIN */
	n[6] = record(r[6], 2, 1, NULL, 0, 0);	      /* ABORT of nothing */
	memcpy(r[7], "GET / HTTP/1.1\r\n\r\n", n[7] = 18);
	for (size_t i = 0; i < 8; i++) {
		pair_open(&p);
		put(&p, r[i], n[i]);
		CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_BAD);
		pair_close(&p);
	}
}

static void
test_parameters_over_64_kib_are_too_large(void)
{
	unsigned char *bytes = calloc(1, 140000);
	unsigned char *content = calloc(1, 65535);
	size_t n = record(bytes, 1, 1, begin_keep, 8, 0);
	struct pair p;

	n += record(bytes + n, 4, 1, content, 65000, 0);
	n += record(bytes + n, 4, 1, content, 2000, 0);
	pair_open(&p);
	put(&p, bytes, n);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_TOO_LARGE);
	pair_close(&p);
	free(content);
	free(bytes);
}

/* libfcgi believes the lengths of parameters and asks malloc() for them. */
static void
test_parameters_whose_lengths_lie_never_reach_libfcgi(void)
{
	static const struct slice lies[] = {
		{ "\xff\xff\xff\xff\xff\xff\xff\xffzz", 10 }, /* 2 GiB each */
		{ "\x80\x00\x00\x01\xff\xff\xff\xfezz", 10 },
		{ "\x05\x01"
		  "ab",
		    4 }, /* longer than what is there */
		{ "\x01\x01"
		  "ab\x01",
		    5 }, /* a length that ends in the middle */
		{ "\x80\x00", 2 },
	};
	unsigned char bytes[256];
	struct pair p;

	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		size_t n = record(bytes, 1, 1, begin_keep, 8, 0);

		n += record(bytes + n, 4, 1, lies[i].ptr, lies[i].len, 0);
		n += record(bytes + n, 4, 1, NULL, 0, 0);
		n += record(bytes + n, 5, 1, NULL, 0, 0);
		pair_open(&p);
		put(&p, bytes, n);
		CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_BAD);
		pair_close(&p);
	}
}

static void
test_a_parameter_may_be_spread_over_records(void)
{
	unsigned char bytes[256];
	size_t n = record(bytes, 1, 1, begin_keep, 8, 0);
	const char *const *envp = NULL;
	struct pair p;

	n += record(bytes + n, 4, 1, "\x80\x00", 2, 3);
	n += record(bytes + n, 4, 1,
	    "\x00\x03\x02"
	    "AB",
	    5, 0);
	n += record(bytes + n, 4, 1, "Cde\x01\x00X", 6, 0); /* and one with an empty value */
	n += record(bytes + n, 4, 1, NULL, 0, 0);
	n += record(bytes + n, 5, 1, NULL, 0, 0);
	pair_open(&p);
	put(&p, bytes, n);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_WHOLE);
	CU_ASSERT_EQUAL_FATAL(fcgi_accept(p.c, &envp), ERR_OK);
	CU_ASSERT_TRUE(has(envp, "ABC=de"));
	CU_ASSERT_TRUE(has(envp, "X="));
	pair_close(&p);
}

static void
test_management_records_are_answered_here(void)
{
	unsigned char bytes[64], reply[256];
	struct pair p;

	pair_open(&p);
	put(&p, bytes, record(bytes, 9, 0, "\x0f\0FCGI_MPXS_CONNS", 17, 0));
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_ANSWERED);
	CU_ASSERT_TRUE(recv(p.front, reply, sizeof reply, 0) > 8);
	CU_ASSERT_EQUAL(reply[1], 10);
	put(&p, bytes, record(bytes, 77, 0, "x", 1, 0));
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_ANSWERED);
	CU_ASSERT_EQUAL(recv(p.front, reply, sizeof reply, 0), 16);
	CU_ASSERT_EQUAL(reply[1], 11);
	CU_ASSERT_EQUAL(reply[8], 77);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_NOTHING);
	pair_close(&p);
}

static void
test_a_closed_front_is_noticed(void)
{
	unsigned char bytes[64];
	struct pair p;

	pair_open(&p);
	put(&p, bytes, record(bytes, 1, 1, begin_keep, 8, 0));
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_PARTIAL);
	(void)shutdown(p.front, SHUT_WR);
	/* The peek still sees the half request: the reactor's timer ends it. */
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_PARTIAL);
	pair_close(&p);
	pair_open(&p);
	(void)shutdown(p.front, SHUT_WR);
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_CLOSED);
	pair_close(&p);
}

/* Reads what is there, at most ${len}. */
static size_t
drain(int fd, unsigned char *out, size_t len)
{
	const ssize_t n = recv(fd, out, len, MSG_DONTWAIT);

	return n > 0 ? (size_t)n : 0;
}

/* Takes the records apart and joins their contents; the count of bytes, 0 when the framing is wrong. */
static size_t
unframe(const unsigned char *in, size_t len, char *out)
{
	size_t at = 0, total = 0;

	while (at + 8 <= len) {
		const size_t n = (size_t)in[at + 4] << 8 | in[at + 5];

		if (in[at] != 1 || (in[at + 1] != 6 && in[at + 1] != 3))
			return 0;
		if (in[at + 1] == 6) {
			memcpy(out + total, in + at + 8, n);
			total += n;
		}
		at += 8 + n + in[at + 6];
	}
	return at == len ? total : 0;
}

enum { READ_BYTES = 70001 };

static void
check_reply_of(size_t body_len)
{
	static const char head[] = "Status: 200 OK\r\n\r\n";
	const size_t total = sizeof head - 1 + body_len;
	char *body = malloc(body_len + 1), *got = malloc(total + 1);
	/* With room for one more read, for drain() asks for more than is to come. */
	unsigned char bytes[512], *framed = malloc(total + total / 1000 + 4096 + READ_BYTES);
	const char *const *envp = NULL;
	size_t have = 0, ignored = 0;
	enum err rc;
	struct pair p;

	for (size_t i = 0; i < body_len; i++)
		body[i] = (char)(i * 17 + i / 251);
	pair_open(&p);
	put(&p, bytes, request(bytes, begin_keep, NULL, 0));
	CU_ASSERT_EQUAL(fcgi_look(p.c), FCGI_WHOLE);
	CU_ASSERT_EQUAL_FATAL(fcgi_accept(p.c, &envp), ERR_OK);
	CU_ASSERT_EQUAL(fcgi_body(p.c, NULL, 0, &ignored), ERR_OK);
	rc = fcgi_reply(p.c, SLICE(head), (struct slice){ body, body_len }, false);
	while (rc == ERR_TIMEOUT) {
		have += drain(p.front, framed + have, READ_BYTES);
		rc = fcgi_send(p.c);
	}
	CU_ASSERT_EQUAL(rc, ERR_OK);
	for (size_t n; (n = drain(p.front, framed + have, READ_BYTES)) > 0;)
		have += n;
	CU_ASSERT_EQUAL(unframe(framed, have, got), total);
	CU_ASSERT_EQUAL(memcmp(got, head, sizeof head - 1), 0);
	CU_ASSERT_EQUAL(memcmp(got + sizeof head - 1, body, body_len), 0);
	CU_ASSERT_TRUE(fcgi_end(p.c));
	pair_close(&p);
	free(framed);
	free(got);
	free(body);
}

static void
test_replies_of_any_size_are_framed_right(void)
{
	static const size_t sizes[] = { 0, 1, 512, 65509, 65510, 65511, 65528, 131038, 131039,
		262144, 3000000 };

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		check_reply_of(sizes[i]);
}

static void
test_only_a_listening_socket_is_listening(void)
{
	int fds[2];

	CU_ASSERT_FALSE(fcgi_is_listening(-1));
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CU_ASSERT_FALSE(fcgi_is_listening(fds[0]));
	(void)close(fds[0]);
	(void)close(fds[1]);
}

UNIT_SUITE(fcgi, TEST(test_a_last_reply_has_a_record_behind_its_end_but_for_apache),
    TEST(test_a_request_that_comes_byte_by_byte_is_partial_until_it_is_whole),
    TEST(test_parameters_and_body_arrive_and_the_connection_is_kept),
    TEST(test_a_front_that_does_not_ask_to_keep_is_not_kept),
    TEST(test_bytes_behind_a_request_end_the_connection_after_the_reply),
    TEST(test_a_large_body_is_told_before_it_is_read),
    TEST(test_a_body_that_fills_the_socket_early_is_large),
    TEST(test_a_body_without_end_is_given_up_and_its_sender_heard_out),
    TEST(test_what_nobody_reads_is_dropped_until_the_front_closes),
    TEST(test_a_large_body_leaves_the_connection_good_wherever_its_records_end),
    TEST(test_what_is_not_a_request_is_bad), TEST(test_parameters_over_64_kib_are_too_large),
    TEST(test_parameters_whose_lengths_lie_never_reach_libfcgi),
    TEST(test_a_parameter_may_be_spread_over_records),
    TEST(test_management_records_are_answered_here), TEST(test_a_closed_front_is_noticed),
    TEST(test_replies_of_any_size_are_framed_right),
    TEST(test_only_a_listening_socket_is_listening));
