/*
 * Sending OTLP: bytes around the message, what an answer means, and how long to wait before the next try.
 */
#include "service/otlp_sender.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/wake.h"
#include "client/gzip.h"
#include "client/http_post.h"
#include "policy/backoff.h"
#include "service/otel_settings.h"
#include "telemetry/otlp.h"

enum {
	REPLY_BYTES_MAX = 4 << 20, /* as the specification bounds both */
	REQUEST_BYTES_MAX = 64 << 20,
	HEADERS_MAX = 70,
	RETRY_BASE_MS = 1000,
	RETRY_CAP_MS = 30000,
	GRPC_FRAME_BYTES = 5,
};

struct otlp_sender {
	const struct otel_endpoint *endpoint;
	const char *what;
	struct http_post *post;
	struct strbuf packed, body;
	bool failing; /* the last one did not arrive: said */
};

/* HTTP's seconds; a date is not honoured, and the back-off stands in. */
static int64_t
retry_after_ms(struct slice value)
{
	int64_t seconds;

	if (value.ptr == NULL || slice_to_i64(value, &seconds) != ERR_OK || seconds < 0 ||
	    seconds > INT32_MAX)
		return -1;
	return seconds * 1000;
}

enum otlp_verdict
otlp_judge_http(const struct http_reply *r, int64_t *wait_ms_out)
{
	*wait_ms_out = -1;
	switch (r->status) {
	case 429:
	case 502:
	case 503:
	case 504:
		*wait_ms_out = retry_after_ms(r->retry_after);
		return OTLP_AGAIN;
	default:
		return r->status >= 200 && r->status < 300 ? OTLP_TAKEN : OTLP_REFUSED;
	}
}

enum { /* of gRPC */
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_ABORTED = 10,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNAVAILABLE = 14,
	GRPC_DATA_LOSS = 15
};

enum otlp_verdict
otlp_judge_grpc(const struct http_reply *r, int64_t *wait_ms_out)
{
	int64_t status;

	*wait_ms_out = -1;
	if (r->grpc_status.ptr == NULL) /* a proxy's answer, or none of gRPC's */
		return r->status == 200 ? OTLP_REFUSED : otlp_judge_http(r, wait_ms_out);
	if (slice_to_i64(r->grpc_status, &status) != ERR_OK)
		return OTLP_REFUSED;
	if (otlp_read_retry_info(r->grpc_details, wait_ms_out) != ERR_OK)
		*wait_ms_out = -1;
	switch (status) {
	case GRPC_OK:
		return OTLP_TAKEN;
	case GRPC_CANCELLED:
	case GRPC_DEADLINE_EXCEEDED:
	case GRPC_ABORTED:
	case GRPC_OUT_OF_RANGE:
	case GRPC_UNAVAILABLE:
	case GRPC_DATA_LOSS:
		return OTLP_AGAIN;
	case GRPC_RESOURCE_EXHAUSTED:
		return *wait_ms_out >= 0 ? OTLP_AGAIN : OTLP_REFUSED;
	default:
		return OTLP_REFUSED;
	}
}

/*
 * Bytes.
 */
static enum err
make_body(struct otlp_sender *s, struct slice message)
{
	const bool gzip = s->endpoint->gzip;
	enum err rc = ERR_OK;

	s->packed.len = s->body.len = 0;
	s->packed.failed = s->body.failed = false;
	if (gzip) {
		rc = gzip_pack(message, &s->packed);
		message = strbuf_slice(&s->packed);
	}
	if (s->endpoint->grpc) {
		const uint8_t frame[GRPC_FRAME_BYTES] = { gzip, (uint8_t)(message.len >> 24),
			(uint8_t)(message.len >> 16), (uint8_t)(message.len >> 8),
			(uint8_t)message.len };

		strbuf_add(&s->body, frame, sizeof frame);
	}
	strbuf_add_slice(&s->body, message);
	if (rc == ERR_OK && s->body.failed)
		rc = message.len > REQUEST_BYTES_MAX - GRPC_FRAME_BYTES ? ERR_TOO_LARGE : ERR_NOMEM;
	return rc;
}

static int64_t
rejected_of(const struct otlp_sender *s, struct slice body)
{
	struct slice message;
	int64_t rejected = 0;

	if (s->endpoint->grpc) { /* the frame of the one message; packed ones were not asked for */
		if (body.len < GRPC_FRAME_BYTES || *body.ptr != 0)
			return 0;
		body.ptr += GRPC_FRAME_BYTES;
		body.len -= GRPC_FRAME_BYTES;
	}
	if (otlp_read_response(body, &rejected, &message) != ERR_OK || rejected <= 0)
		return 0;
	log_warn("otlp_rejected", LOG_STR("what", s->what), LOG_INT("items", rejected),
	    LOG_SLICE("reason", message));
	return rejected;
}

/*
 * What is said: once for each change.
 */
static void
say(struct otlp_sender *s, enum err rc, const struct http_reply *r)
{
	if ((rc != ERR_OK) == s->failing)
		return;
	s->failing = rc != ERR_OK;
	if (s->failing)
		log_warn("otlp_lost", LOG_STR("what", s->what), LOG_STR("url", s->endpoint->url),
		    LOG_ERR("error", rc), LOG_INT("status", r->status),
		    LOG_SLICE("grpc_status", r->grpc_status));
	else
		log_info("otlp_arrives_again", LOG_STR("what", s->what),
		    LOG_STR("url", s->endpoint->url));
}

/* False: there will be no further try. */
static bool
wait_for_next(const struct otlp_stop *stop, int64_t ms, int64_t deadline_ms)
{
	int64_t now_ms = clock_mono_ms();
	const int64_t until_ms = now_ms + ms;

	if (until_ms >= deadline_ms)
		return false;
	for (; now_ms < until_ms && atomic_load(stop->retries) == 0; now_ms = clock_mono_ms())
		wake_wait(stop->retries, 0, until_ms - now_ms);
	return atomic_load(stop->retries) == 0;
}

static enum otlp_verdict
try_once(struct otlp_sender *s, int64_t deadline_ms, const struct otlp_stop *stop,
    struct http_reply *r, int64_t *wait_ms_out, enum err *rc_out)
{
	*wait_ms_out = -1;
	*rc_out = http_post_send(s->post, strbuf_slice(&s->body), deadline_ms, stop->all, r);
	if (*rc_out == ERR_UNAVAILABLE)
		return OTLP_AGAIN;
	if (*rc_out != ERR_OK)
		return OTLP_REFUSED; /* no time is left, or no memory, or the answer is no answer */
	return s->endpoint->grpc ? otlp_judge_grpc(r, wait_ms_out)
				 : otlp_judge_http(r, wait_ms_out);
}

enum err
otlp_sender_send(struct otlp_sender *s, struct slice message, int64_t deadline_ms,
    const struct otlp_stop *stop, int64_t *rejected_out)
{
	struct http_reply reply = { 0 };
	enum otlp_verdict v = OTLP_REFUSED;
	uint32_t failures = 0;
	int64_t wait_ms;
	enum err rc = make_body(s, message);

	*rejected_out = 0;
	while (rc == ERR_OK) {
		v = try_once(s, deadline_ms, stop, &reply, &wait_ms, &rc);
		if (v != OTLP_AGAIN)
			break;
		failures++;
		if (wait_ms < 0)
			wait_ms = backoff_next_ms(
			    failures, RETRY_BASE_MS, RETRY_CAP_MS, (uint32_t)rand_u64());
		if (!wait_for_next(stop, wait_ms, deadline_ms))
			break;
		rc = ERR_OK;
	}
	if (rc == ERR_OK && v != OTLP_TAKEN)
		rc = v == OTLP_AGAIN ? ERR_UNAVAILABLE : ERR_INVALID;
	if (rc == ERR_OK)
		*rejected_out = rejected_of(s, reply.body);
	say(s, rc, &reply);
	return rc;
}

void
otlp_stop_thread(
    pthread_t thread, _Atomic uint32_t *closing, _Atomic uint32_t *hard_stop, int64_t patience_ms)
{
	struct timespec until;

	atomic_store(closing, 1);
	wake_all(closing);
	(void)clock_gettime(CLOCK_REALTIME, &until); /* the join knows no other */
	until.tv_sec += patience_ms / 1000;
	if (pthread_timedjoin_np(thread, NULL, &until) == 0)
		return;
	atomic_store(hard_stop, 1);
	(void)pthread_join(thread, NULL);
}

/*
 * Opening and closing.
 */
enum err
otlp_sender_open(const struct otel_endpoint *e, const char *what, struct otlp_sender **out)
{
	static const char *const http[] = { "Content-Type: application/x-protobuf" };
	static const char *const grpc[] = { "Content-Type: application/grpc", "TE: trailers" };
	struct otlp_sender *s = calloc(1, sizeof *s);
	const char *headers[HEADERS_MAX];
	size_t n = 0;
	enum err rc;

	*out = NULL;
	if (s == NULL)
		return ERR_NOMEM;
	s->endpoint = e;
	s->what = what;
	s->packed = STRBUF_INIT(REQUEST_BYTES_MAX);
	s->body = STRBUF_INIT(REQUEST_BYTES_MAX);
	headers[n++] = "User-Agent: OTel-OTLP-Exporter-weir/1.0";
	for (size_t i = 0; i < (e->grpc ? 2u : 1u); i++)
		headers[n++] = e->grpc ? grpc[i] : http[i];
	if (e->gzip)
		headers[n++] = e->grpc ? "grpc-encoding: gzip" : "Content-Encoding: gzip";
	for (size_t i = 0; i < e->header_count && n < HEADERS_MAX; i++)
		headers[n++] = e->headers[i];
	rc = http_post_open(
	    &(struct http_post_options){
		.url = e->url,
		.version = e->grpc ? HTTP_POST_2 : HTTP_POST_1_1,
		.headers = headers,
		.header_count = n,
		.ca_file = e->ca_file,
		.client_cert_file = e->client_cert_file,
		.client_key_file = e->client_key_file,
		.reply_bytes_max = REPLY_BYTES_MAX,
	    },
	    &s->post);
	if (rc == ERR_OK)
		*out = s;
	else
		otlp_sender_close(&s);
	return rc;
}

void
otlp_sender_close(struct otlp_sender **sp)
{
	struct otlp_sender *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	http_post_close(&s->post);
	strbuf_free(&s->packed);
	strbuf_free(&s->body);
	free(s);
}
