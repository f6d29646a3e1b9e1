/* Goal: whatever a server does or fails to do, a POST ends by its deadline, and what it answered is told. */
#include "client/http_post.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/http/check.h"

enum { SEEN_BYTES = 4096, URL_BYTES = 64, SOON_MS = 10000, SHORT_MS = 60, SLACK_MS = 5000 };

/* A server that reads one request a connection and answers with its bytes; "": it is silent. */
struct fake {
	const char *reply;
	bool trickles; /* one byte each 5 ms, for ever */
	int listening;
	char url[URL_BYTES];
	char seen[SEEN_BYTES];
	pthread_t thread;
	_Atomic bool ends;
};

static void
read_request(struct fake *f, int fd)
{
	size_t len = 0;
	ssize_t n;

	while (strstr(f->seen, "\r\n\r\nhello") == NULL &&
	       (n = recv(fd, f->seen + len, sizeof f->seen - 1 - len, 0)) > 0)
		len += (size_t)n;
}

static void *
serve(void *arg)
{
	struct fake *f = arg;
	int fd;

	while ((fd = accept(f->listening, NULL, NULL)) != -1) {
		read_request(f, fd);
		(void)send(fd, f->reply, strlen(f->reply), MSG_NOSIGNAL);
		while (f->trickles && !f->ends && send(fd, "x", 1, MSG_NOSIGNAL) == 1)
			(void)usleep(5000);
		if (*f->reply == '\0')
			while (!f->ends)
				(void)usleep(1000);
		(void)close(fd);
	}
	return NULL;
}

static void
fake_open(struct fake *f, const char *reply, bool trickles)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;

	memset(f, 0, sizeof *f);
	f->reply = reply;
	f->trickles = trickles;
	f->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(bind(f->listening, (struct sockaddr *)&a, sizeof a), 0);
	CU_ASSERT_EQUAL_FATAL(listen(f->listening, 4), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(f->listening, (struct sockaddr *)&a, &len), 0);
	(void)snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d/in", ntohs(a.sin_port));
	CU_ASSERT_EQUAL_FATAL(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void
fake_close(struct fake *f)
{
	f->ends = true;
	(void)shutdown(f->listening, SHUT_RDWR);
	(void)pthread_join(f->thread, NULL);
	(void)close(f->listening);
}

static struct http_post *
post_to(const char *url)
{
	static const char *const headers[] = { "X-One: 1" };
	struct http_post *p;

	CU_ASSERT_EQUAL_FATAL(
	    http_post_open(
		&(struct http_post_options){
		    .url = url, .headers = headers, .header_count = 1, .reply_bytes_max = 16 },
		&p),
	    ERR_OK);
	return p;
}

static void
test_what_was_answered_is_told(void)
{
	struct fake f;
	struct http_post *p;
	struct http_reply r;

	fake_open(&f,
	    "HTTP/1.1 503 No\r\nretry-after:  7 \r\nGRPC-Status: 14\r\nContent-Length: "
	    "3\r\n\r\nabc",
	    false);
	p = post_to(f.url);
	CU_ASSERT_EQUAL(
	    http_post_send(p, SLICE("hello"), clock_mono_ms() + SOON_MS, NULL, &r), ERR_OK);
	CU_ASSERT_EQUAL(r.status, 503);
	CHECK_TEXT("body", r.body, "abc");
	CHECK_TEXT("retry-after", r.retry_after, "7");
	CHECK_TEXT("grpc-status", r.grpc_status, "14");
	CHECK_TEXT("details", r.grpc_details, NULL);
	http_post_close(&p);
	fake_close(&f);
	CU_ASSERT_PTR_NOT_NULL(strstr(f.seen, "POST /in HTTP/1.1\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(f.seen, "X-One: 1\r\n"));
	CU_ASSERT_PTR_NULL(strstr(f.seen, "Expect:"));
}

static void
check_ends_by_its_deadline(const char *reply, bool trickles)
{
	struct fake f;
	struct http_post *p;
	struct http_reply r;
	int64_t begun_ms;

	fake_open(&f, reply, trickles);
	p = post_to(f.url);
	begun_ms = clock_mono_ms();
	CU_ASSERT_EQUAL(
	    http_post_send(p, SLICE("hello"), begun_ms + SHORT_MS, NULL, &r), ERR_TIMEOUT);
	CU_ASSERT_TRUE(clock_mono_ms() - begun_ms < SLACK_MS);
	CU_ASSERT_EQUAL(http_post_send(p, SLICE("hello"), begun_ms, NULL, &r), ERR_TIMEOUT);
	http_post_close(&p);
	fake_close(&f);
}

static void
test_a_server_that_is_silent_or_trickles_is_one_that_is_down(void)
{
	check_ends_by_its_deadline("", false);
	check_ends_by_its_deadline("HTTP/1.1 200 OK\r\nX-Endless: ", true);
}

static void
test_an_answer_that_is_too_long_is_not_read(void)
{
	struct fake f;
	struct http_post *p;
	struct http_reply r;

	fake_open(&f, "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n0123456789abcdefg", false);
	p = post_to(f.url);
	CU_ASSERT_EQUAL(
	    http_post_send(p, SLICE("hello"), clock_mono_ms() + SOON_MS, NULL, &r), ERR_TOO_LARGE);
	http_post_close(&p);
	fake_close(&f);
}

static void
test_nobody_there_and_no_answer_are_unavailable(void)
{
	struct fake f;
	struct http_post *p;
	struct http_reply r;

	fake_open(&f, "nonsense\r\n\r\n", false);
	p = post_to(f.url);
	CU_ASSERT_EQUAL(http_post_send(p, SLICE("hello"), clock_mono_ms() + SOON_MS, NULL, &r),
	    ERR_UNAVAILABLE);
	fake_close(&f);
	CU_ASSERT_EQUAL(http_post_send(p, SLICE("hello"), clock_mono_ms() + SOON_MS, NULL, &r),
	    ERR_UNAVAILABLE);
	http_post_close(&p);
}

static void
test_who_is_told_to_stop_does_so_before_the_deadline(void)
{
	const _Atomic uint32_t stop = 1;
	const int64_t begun_ms = clock_mono_ms();
	struct fake f;
	struct http_post *p;
	struct http_reply r;

	fake_open(&f, "", false);
	p = post_to(f.url);
	CU_ASSERT_EQUAL(
	    http_post_send(p, SLICE("hello"), begun_ms + 600000, &stop, &r), ERR_UNAVAILABLE);
	CU_ASSERT_TRUE(clock_mono_ms() - begun_ms < 60000);
	http_post_close(&p);
	fake_close(&f);
}

static void
test_other_protocols_are_refused(void)
{
	struct http_post *p;
	struct http_reply r;

	p = post_to("file:///etc/passwd");
	CU_ASSERT_EQUAL(
	    http_post_send(p, SLICE("x"), clock_mono_ms() + SOON_MS, NULL, &r), ERR_UNAVAILABLE);
	http_post_close(&p);
}

UNIT_SUITE(http_post, TEST(test_what_was_answered_is_told),
    TEST(test_a_server_that_is_silent_or_trickles_is_one_that_is_down),
    TEST(test_an_answer_that_is_too_long_is_not_read),
    TEST(test_nobody_there_and_no_answer_are_unavailable),
    TEST(test_who_is_told_to_stop_does_so_before_the_deadline),
    TEST(test_other_protocols_are_refused));
