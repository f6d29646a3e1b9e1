#ifndef SERVICE_WRITER_H
#define SERVICE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "service/event.h"

struct endpoint;

/*
 * The write database, as the consumer uses it: one connection, one transaction for a batch.  Only
 * who holds consumer.lock opens one; for SQLite it is the only connection that writes and checkpoints.
 *
 * weir's own tables, made by writer_migrate(): weir_keys(tenant, endpoint, key, fingerprint, event_id, state,
 * reason, rows, at) and weir_dead_letters.
 */
struct writer;

/* What a failure means for the batch (DESIGN's SQLSTATE table). */
enum writer_verdict {
	WRITER_OK,
	WRITER_BAD_EVENT,      /* dead letter, once it failed alone */
	WRITER_BAD_MOMENT,     /* wait with back-off, same batch */
	WRITER_BAD_DEPLOYMENT, /* stop before it */
	WRITER_UNCLEAR	       /* ten tries alone, then dead letter */
};
struct writer_failure {
	enum writer_verdict verdict;
	char sqlstate[6];
	char message[256];
};

enum err writer_open(const char *url, struct writer **out, struct writer_failure *why_out);
void writer_close(struct writer **wp);
enum err writer_migrate(struct writer *w, struct writer_failure *why_out);

enum err writer_begin(struct writer *w, struct writer_failure *why_out);
enum err writer_commit(struct writer *w, struct writer_failure *why_out);
void writer_rollback(struct writer *w);

/* Inserts the keys of ${events}: state_out[i] says which are new, applied already (same fingerprint), or clash. */
enum writer_claim { WRITER_NEW, WRITER_APPLIED, WRITER_CLASH };
enum err writer_claim_keys(struct writer *w, const struct event *events, size_t count,
    int64_t now_us, enum writer_claim *state_out, struct writer_failure *why_out);

/* Runs the endpoint's statement for one event. */
enum err writer_apply(struct writer *w, const struct endpoint *e, const struct event *ev,
    int64_t now_us, int64_t *rows_out, struct writer_failure *why_out);
enum err writer_mark(
    struct writer *w, const struct event *ev, int64_t rows, struct writer_failure *why_out);

/* Dead letters: recorded in the batch's transaction; the key's state becomes failed. */
enum err writer_bury(struct writer *w, const struct event *ev, struct slice record,
    const struct writer_failure *reason, int64_t now_us, struct writer_failure *why_out);

/*
 * A dead letter's second life, in a transaction: its key becomes applied again (ERR_CONFLICT: it belongs to an
 * event that was applied, so this one must not be), then writer_apply(), then the letter goes.
 */
enum err writer_revive(
    struct writer *w, const struct event *ev, int64_t now_us, struct writer_failure *why_out);
/* ${event_id} NULL: all of them. */
enum err writer_drop_letters(struct writer *w, const uint8_t *event_id, uint64_t *dropped_out,
    struct writer_failure *why_out);

/* Forgets keys applied before ${before_us}, at most ${max} rows a call. */
enum err writer_expire_keys(
    struct writer *w, int64_t before_us, size_t max, struct writer_failure *why_out);

/* Maps SQLSTATE class to verdict; a table. */
enum writer_verdict writer_verdict_of(const char *sqlstate);

#endif
