/* Goal: a CGI request is read to its end and no further, and a reply is written whole or given up in time. */
#include "client/cgi.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/unit.h"

enum { SOON_MS = 50, PATIENCE_MS = 60000 };

struct ends {
	struct cgi cgi;
	int front_in, front_out; /* what the front writes to, and reads from */
	int in, out;
};

static void
begin(struct ends *e, const char *const *envp)
{
	int in[2], out[2];

	(void)signal(SIGPIPE, SIG_IGN);
	CU_ASSERT_EQUAL_FATAL(pipe(in), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(out), 0);
	*e = (struct ends){ .front_in = in[1], .front_out = out[0], .in = in[0], .out = out[1] };
	cgi_open(&e->cgi, envp, e->in, e->out);
}

static void
end(struct ends *e)
{
	(void)close(e->front_in);
	(void)close(e->front_out);
	(void)close(e->in);
	(void)close(e->out);
}

static enum err
body(struct ends *e, char *out, size_t cap, int64_t ms, size_t *total)
{
	return cgi_body(&e->cgi, out, cap, clock_mono_ms() + ms, total);
}

static void
test_only_a_cgi_environment_asks(void)
{
	const char *const shell[] = { "PATH=/bin", "GATEWAY_INTERFACE=", NULL };
	const char *const half[] = { "GATEWAY_INTERFACE=CGI/1.1", NULL };
	const char *const cgi[] = { "GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=GET", NULL };

	CU_ASSERT_FALSE(cgi_is_asked(shell));
	CU_ASSERT_FALSE(cgi_is_asked(half));
	CU_ASSERT_TRUE(cgi_is_asked(cgi));
}

static void
test_a_body_ends_where_its_length_says(void)
{
	const char *const envp[] = { "CONTENT_LENGTH=5", NULL };
	struct ends e;
	char got[8] = "";
	size_t total;

	begin(&e, envp);
	CU_ASSERT_EQUAL(write(e.front_in, "hello, and more", 15), 15);
	CU_ASSERT_EQUAL(
	    body(&e, got, sizeof got, PATIENCE_MS, &total), ERR_OK); /* the front keeps it open */
	CU_ASSERT_EQUAL(total, 5);
	CU_ASSERT_EQUAL(memcmp(got, "hello", 5), 0);
	CU_ASSERT_EQUAL(
	    body(&e, got, sizeof got, PATIENCE_MS, &total), ERR_OK); /* nothing is left */
	CU_ASSERT_EQUAL(total, 0);
	end(&e);
}

static void
test_without_a_length_there_is_no_body_unless_it_came_in_chunks(void)
{
	const char *const plain[] = { "REQUEST_METHOD=GET", NULL };
	const char *const chunked[] = { "HTTP_TRANSFER_ENCODING=chunked", NULL };
	struct ends e;
	char got[8];
	size_t total;

	begin(&e, plain);
	CU_ASSERT_EQUAL(body(&e, got, sizeof got, PATIENCE_MS, &total), ERR_OK);
	CU_ASSERT_EQUAL(total, 0);
	end(&e);
	begin(&e, chunked);
	CU_ASSERT_EQUAL(write(e.front_in, "abc", 3), 3);
	(void)close(e.front_in);
	CU_ASSERT_EQUAL(body(&e, got, sizeof got, PATIENCE_MS, &total), ERR_OK);
	CU_ASSERT_EQUAL(total, 3);
	e.front_in = -1;
	end(&e);
}

static void
test_what_is_over_the_cap_is_counted_and_dropped(void)
{
	const char *const envp[] = { "CONTENT_LENGTH=10000", NULL };
	static char bytes[10000];
	struct ends e;
	char got[4];
	size_t total;

	memset(bytes, 'x', sizeof bytes);
	begin(&e, envp);
	CU_ASSERT_EQUAL(write(e.front_in, bytes, sizeof bytes), (ssize_t)sizeof bytes);
	CU_ASSERT_EQUAL(body(&e, got, sizeof got, PATIENCE_MS, &total), ERR_OK);
	CU_ASSERT_EQUAL(total, sizeof bytes);
	end(&e);
}

static void
test_a_body_that_stalls_or_ends_early_is_told(void)
{
	const char *const envp[] = { "CONTENT_LENGTH=5", NULL };
	struct ends e;
	char got[8];
	size_t total;

	begin(&e, envp);
	CU_ASSERT_EQUAL(write(e.front_in, "he", 2), 2);
	CU_ASSERT_EQUAL(body(&e, got, sizeof got, SOON_MS, &total), ERR_TIMEOUT);
	CU_ASSERT_EQUAL(total, 2);
	end(&e);
	begin(&e, envp);
	CU_ASSERT_EQUAL(write(e.front_in, "he", 2), 2);
	(void)close(e.front_in);
	CU_ASSERT_EQUAL(body(&e, got, sizeof got, PATIENCE_MS, &total), ERR_IO);
	e.front_in = -1;
	end(&e);
}

static void
test_a_reply_is_whole_however_slowly_it_is_taken(void)
{
	enum { BODY = 300000 };
	const char *const envp[] = { NULL };
	char *large = malloc(BODY);
	struct ends e;
	int status = -1;
	pid_t front;

	memset(large, 'b', BODY);
	begin(&e, envp);
	front = fork();
	if (front == 0) {
		char piece[1000];
		size_t total = 0;
		ssize_t n;

		free(large); /* a block that nobody points to any more is a leak, also in a child */
		(void)close(e.out);
		while ((n = read(e.front_out, piece, sizeof piece)) > 0)
			total += (size_t)n;
		_exit(total == BODY + 4 ? 0 : 1);
	}
	CU_ASSERT_EQUAL(cgi_reply(&e.cgi, SLICE("head"), (struct slice){ large, BODY },
			    clock_mono_ms() + PATIENCE_MS),
	    ERR_OK);
	end(&e);
	CU_ASSERT_EQUAL(waitpid(front, &status, 0), front);
	CU_ASSERT_EQUAL(status, 0);
	free(large);
}

static void
test_a_reply_that_nobody_takes_is_given_up(void)
{
	enum { BODY = 300000 };
	const char *const envp[] = { NULL };
	char *large = calloc(1, BODY);
	const struct slice bytes = { large, BODY };
	struct ends e;

	begin(&e, envp);
	CU_ASSERT_EQUAL(
	    cgi_reply(&e.cgi, SLICE("head"), bytes, clock_mono_ms() + SOON_MS), ERR_TIMEOUT);
	(void)close(e.front_out);
	CU_ASSERT_EQUAL(
	    cgi_reply(&e.cgi, SLICE("head"), bytes, clock_mono_ms() + PATIENCE_MS), ERR_IO);
	e.front_out = -1;
	end(&e);
	free(large);
}

UNIT_SUITE(cgi, TEST(test_only_a_cgi_environment_asks),
    TEST(test_a_body_ends_where_its_length_says),
    TEST(test_without_a_length_there_is_no_body_unless_it_came_in_chunks),
    TEST(test_what_is_over_the_cap_is_counted_and_dropped),
    TEST(test_a_body_that_stalls_or_ends_early_is_told),
    TEST(test_a_reply_is_whole_however_slowly_it_is_taken),
    TEST(test_a_reply_that_nobody_takes_is_given_up));
