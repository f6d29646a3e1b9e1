/* Goal: whoever offers spans never waits, what is dropped or lost is counted, and a receiver's answer means what OTLP
 * says.  (Real receivers are in tests/integration.) */
#include "service/exporter.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/http_post.h"
#include "service/otel_settings.h"
#include "service/otlp_sender.h"
#include "telemetry/otlp.h"
#include "telemetry/scoreboard.h"
#include "telemetry/span.h"
#include "telemetry/trace.h"
#include "tests/support/unit.h"

enum { SHORT_MS = 200, URL_BYTES = 64 };

/* A receiver that accepts, and says nothing. */
struct mute {
	int fd;
	char url[URL_BYTES];
};

static void
mute_open(struct mute *m)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;

	m->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(bind(m->fd, (struct sockaddr *)&a, sizeof a), 0);
	CU_ASSERT_EQUAL_FATAL(listen(m->fd, 16), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(m->fd, (struct sockaddr *)&a, &len), 0);
	(void)snprintf(m->url, sizeof m->url, "http://127.0.0.1:%d/v1/traces", ntohs(a.sin_port));
}

struct house {
	struct mute mute;
	struct otel_settings settings;
	void *board;
	unsigned member;
	struct exporter *exporter;
};

static void
house_open(struct house *h, uint32_t queue_max, uint32_t batch_max)
{
	struct exporter_options o;

	mute_open(&h->mute);
	h->board = aligned_alloc(64, (scoreboard_size() + 63) / 64 * 64);
	scoreboard_init(h->board);
	CU_ASSERT_EQUAL_FATAL(
	    scoreboard_join(h->board, MEMBER_WORKER, clock_mono_ms(), &h->member), ERR_OK);
	h->settings = (struct otel_settings){
		.traces = { .on = true, .url = h->mute.url, .timeout_ms = SHORT_MS },
		.sampler = { .kind = SAMPLER_RATIO, .parent_based = true },
		.schedule_delay_ms = 1,
		.queue_max = queue_max,
		.batch_max = batch_max,
		.limits = { 128, 0, 128, 128, 128, 128 },
	};
	o = (struct exporter_options){ &h->settings, "worker", h->board, h->member };
	CU_ASSERT_EQUAL_FATAL(exporter_open(&o, &h->exporter), ERR_OK);
}

static void
house_close(struct house *h)
{
	exporter_close(&h->exporter);
	(void)close(h->mute.fd);
	free(h->board);
}

static void
offer(struct house *h, int count)
{
	struct trace_context t;
	const struct span root = { .name = SLICE("GET /x"), .kind = SPAN_SERVER };
	const struct otlp_work w = { .trace = &t, .root = &root };

	trace_begin(&t, (struct slice){ NULL, 0 }, 0, (struct slice){ NULL, 0 });
	while (count-- > 0)
		exporter_offer(h->exporter, &w);
}

static uint64_t
total(const struct house *h, enum metric m)
{
	return scoreboard_total(h->board, m);
}

static void
test_a_queue_that_is_full_drops_and_counts(void)
{
	struct house h;

	house_open(&h, 10, 10);
	offer(&h, 25);
	CU_ASSERT_EQUAL(total(&h, METRIC_SPANS_DROPPED), 15);
	house_close(&h);
}

static void
test_what_nobody_takes_in_time_is_lost_and_makes_room(void)
{
	struct house h;

	house_open(&h, 10, 10);
	offer(&h, 10);
	while (total(&h, METRIC_SPANS_LOST) < 10) /* ends by OTEL_EXPORTER_OTLP_TIMEOUT */
		(void)usleep(1000);
	offer(&h, 10);
	CU_ASSERT_EQUAL(total(&h, METRIC_SPANS_DROPPED), 0);
	house_close(&h);
}

static void
test_closing_does_not_wait_for_a_mute_receiver(void)
{
	const int64_t begun_ms = clock_mono_ms();
	struct house h;
	void *board;

	house_open(&h, 1000, 1000);
	h.settings.traces.timeout_ms = 600000;
	offer(&h, 100);
	board = h.board;
	h.board = NULL;
	house_close(&h);
	CU_ASSERT_EQUAL(scoreboard_total(board, METRIC_SPANS_LOST), 100);
	CU_ASSERT_TRUE(clock_mono_ms() - begun_ms < 60000);
	free(board);
}

enum { OFFERERS = 4, OFFERS = 2000 };

static void *
offer_many(void *arg)
{
	offer(arg, OFFERS);
	return NULL;
}

static void
test_many_threads_offer_and_every_span_is_accounted_for(void)
{
	pthread_t threads[OFFERERS];
	struct house h;
	void *board;

	house_open(&h, 500, 64);
	for (int i = 0; i < OFFERERS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, offer_many, &h), 0);
	for (int i = 0; i < OFFERERS; i++)
		(void)pthread_join(threads[i], NULL);
	board = h.board;
	h.board = NULL;
	house_close(&h);
	CU_ASSERT_EQUAL(scoreboard_total(board, METRIC_SPANS_DROPPED) +
			    scoreboard_total(board, METRIC_SPANS_LOST) +
			    scoreboard_total(board, METRIC_SPANS_EXPORTED),
	    OFFERERS * OFFERS);
	free(board);
}

static void
test_without_a_wish_there_is_no_exporter_and_nothing_happens(void)
{
	struct otel_settings off = { .traces = { .on = false } };
	struct exporter *e = NULL;
	struct trace_context t = { .sampled = true };
	const struct span root = { .name = SLICE("x") };
	const struct exporter_options o = { .settings = &off, .role = "worker" };

	CU_ASSERT_EQUAL(exporter_open(&o, &e), ERR_OK);
	CU_ASSERT_PTR_NULL(e);
	exporter_sample(e, &t);
	CU_ASSERT_TRUE(t.sampled); /* passed on as it came */
	exporter_offer(e, &(struct otlp_work){ .trace = &t, .root = &root });
	CU_ASSERT_FALSE(exporter_may_keep(e, 1));
	exporter_close(&e);
}

static void
test_a_hundred_a_second_are_kept_that_were_not_sampled(void)
{
	const int64_t second = 1000000000;
	struct house h;
	int kept = 0;

	house_open(&h, 10, 10);
	for (int i = 0; i < 150; i++)
		kept += exporter_may_keep(h.exporter, 7 * second + i);
	CU_ASSERT_EQUAL(kept, 100);
	CU_ASSERT_EQUAL(total(&h, METRIC_TRACES_NOT_KEPT), 50);
	CU_ASSERT_TRUE(exporter_may_keep(h.exporter, 8 * second));
	h.settings.sampler = (struct sampler){ .kind = SAMPLER_ALWAYS_OFF };
	CU_ASSERT_FALSE(exporter_may_keep(h.exporter, 9 * second)); /* who wants none gets none */
	house_close(&h);
}

static void
test_http_answers_mean_what_otlp_says(void)
{
	static const struct {
		int status;
		const char *retry_after;
		enum otlp_verdict verdict;
		int64_t wait_ms;
	} rows[] = {
		{ 200, NULL, OTLP_TAKEN, -1 },
		{ 202, NULL, OTLP_TAKEN, -1 },
		{ 301, NULL, OTLP_REFUSED, -1 },
		{ 400, NULL, OTLP_REFUSED, -1 },
		{ 401, NULL, OTLP_REFUSED, -1 },
		{ 404, "3", OTLP_REFUSED, -1 },
		{ 408, NULL, OTLP_REFUSED, -1 },
		{ 429, "3", OTLP_AGAIN, 3000 },
		{ 429, NULL, OTLP_AGAIN, -1 },
		{ 500, NULL, OTLP_REFUSED, -1 },
		{ 502, NULL, OTLP_AGAIN, -1 },
		{ 503, "0", OTLP_AGAIN, 0 },
		{ 503, "Tue, 24 Nov 2026 13:44:22 GMT", OTLP_AGAIN, -1 },
		{ 503, "-5", OTLP_AGAIN, -1 },
		{ 504, NULL, OTLP_AGAIN, -1 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct http_reply r = { .status = rows[i].status,
			.retry_after = slice_of(rows[i].retry_after) };
		int64_t wait_ms;

		CU_ASSERT_EQUAL(otlp_judge_http(&r, &wait_ms), rows[i].verdict);
		CU_ASSERT_EQUAL(wait_ms, rows[i].wait_ms);
	}
}

static void
test_grpc_answers_mean_what_otlp_says(void)
{
	static const char retry_info[] =
	    "CAgaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ==";
	static const struct {
		int status;
		const char *grpc_status, *details;
		enum otlp_verdict verdict;
		int64_t wait_ms;
	} rows[] = {
		{ 200, "0", NULL, OTLP_TAKEN, -1 },
		{ 200, "1", NULL, OTLP_AGAIN, -1 },
		{ 200, "2", NULL, OTLP_REFUSED, -1 },
		{ 200, "3", NULL, OTLP_REFUSED, -1 },
		{ 200, "4", NULL, OTLP_AGAIN, -1 },
		{ 200, "7", NULL, OTLP_REFUSED, -1 },
		{ 200, "8", NULL, OTLP_REFUSED, -1 },
		{ 200, "8", retry_info, OTLP_AGAIN, 2500 },
		{ 200, "10", NULL, OTLP_AGAIN, -1 },
		{ 200, "11", NULL, OTLP_AGAIN, -1 },
		{ 200, "12", NULL, OTLP_REFUSED, -1 },
		{ 200, "14", NULL, OTLP_AGAIN, -1 },
		{ 200, "14", retry_info, OTLP_AGAIN, 2500 },
		{ 200, "15", NULL, OTLP_AGAIN, -1 },
		{ 200, "16", NULL, OTLP_REFUSED, -1 },
		{ 200, "x", NULL, OTLP_REFUSED, -1 },
		{ 200, NULL, NULL, OTLP_REFUSED, -1 }, /* no trailers: nobody has taken it */
		{ 503, NULL, NULL, OTLP_AGAIN, -1 },   /* a proxy's */
		{ 404, NULL, NULL, OTLP_REFUSED, -1 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct http_reply r = { .status = rows[i].status,
			.grpc_status = slice_of(rows[i].grpc_status),
			.grpc_details = slice_of(rows[i].details) };
		int64_t wait_ms;

		CU_ASSERT_EQUAL(otlp_judge_grpc(&r, &wait_ms), rows[i].verdict);
		CU_ASSERT_EQUAL(wait_ms, rows[i].wait_ms);
	}
}

UNIT_SUITE(exporter, TEST(test_a_queue_that_is_full_drops_and_counts),
    TEST(test_what_nobody_takes_in_time_is_lost_and_makes_room),
    TEST(test_closing_does_not_wait_for_a_mute_receiver),
    TEST(test_many_threads_offer_and_every_span_is_accounted_for),
    TEST(test_without_a_wish_there_is_no_exporter_and_nothing_happens),
    TEST(test_a_hundred_a_second_are_kept_that_were_not_sampled),
    TEST(test_http_answers_mean_what_otlp_says), TEST(test_grpc_answers_mean_what_otlp_says));
