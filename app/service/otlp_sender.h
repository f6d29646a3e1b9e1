#ifndef SERVICE_OTLP_SENDER_H
#define SERVICE_OTLP_SENDER_H

#include <pthread.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct otel_endpoint;

/*
 * One receiver of OTLP, over http/protobuf or gRPC: sends a request, and again when its specification says that this
 * may help, until one deadline.  Says once in the log that nothing arrives, and once that it does again.
 * One thread uses a sender at a time.
 */
struct otlp_sender;

/* ${e} is lent for the sender's life; ${what} ("traces") is for the log, static.  ERR_INVALID: no such URL. */
enum err otlp_sender_open(
    const struct otel_endpoint *e, const char *what, struct otlp_sender **out);
void otlp_sender_close(struct otlp_sender **sp);

/* What may end a send early, as words that are 0 until then. */
struct otlp_stop {
	const _Atomic uint32_t *retries; /* no further try */
	const _Atomic uint32_t *all;	 /* not even the one that is going on */
};

/* ERR_OK: taken, but for the *${rejected_out} items that the receiver did not want.  All else: lost. */
enum err otlp_sender_send(struct otlp_sender *s, struct slice message, int64_t deadline_ms,
    const struct otlp_stop *stop, int64_t *rejected_out);

/* Ends a thread that sends: ${closing} is set and rung, and after ${patience_ms} ${hard_stop} too. */
void otlp_stop_thread(
    pthread_t thread, _Atomic uint32_t *closing, _Atomic uint32_t *hard_stop, int64_t patience_ms);

/*
 * What an answer means; apart, so that it is tested without a receiver.
 */
enum otlp_verdict { OTLP_TAKEN, OTLP_AGAIN, OTLP_REFUSED };
struct http_reply; /* client/http_post.h */

/* *${wait_ms_out}: what the receiver asks for, -1: nothing. */
enum otlp_verdict otlp_judge_http(const struct http_reply *r, int64_t *wait_ms_out);
enum otlp_verdict otlp_judge_grpc(const struct http_reply *r, int64_t *wait_ms_out);

#endif
