#ifndef SERVICE_WRITER_H
#define SERVICE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "service/event.h"

struct endpoint;

/*
 * The write database, as the consumer uses it: one connection, one transaction for a batch.  Only
 * who holds consumer.lock opens one; for SQLite it is the only connection that writes and checkpoints.
 * For one thread.  Every call has a deadline of its own.
 *
 * weir's own tables, made by writer_migrate(): weir_keys(tenant, endpoint, key, fingerprint, event_id, state,
 * reason, rows, at) with an index by event_id, weir_dead_letters, and weir_api_keys (service/key_table.h).
 * Moments in them are RFC 3339 text with six decimals, which sorts.
 *
 * Whatever is not ERR_OK has *${why_out} filled; the batch's transaction is then to be rolled back.
 */
struct writer;

/* What a failure means for the batch (the table of SQLSTATE classes in writer.c). */
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

/* Of a SQLSTATE: the whole code, else its class; what no table knows is unclear. */
enum writer_verdict writer_verdict_of(const char *sqlstate);
/* For failures that are found outside of the database. */
void writer_failure_set(struct writer_failure *why, enum writer_verdict verdict,
    const char *sqlstate, const char *message);

/* ERR_INVALID: not a database that weir can write to; else a failure of the moment or the deployment. */
enum err writer_open(const char *url, struct writer **out, struct writer_failure *why_out);
void writer_close(struct writer **wp);
/* Makes what is missing, and touches nothing else. */
enum err writer_migrate(struct writer *w, struct writer_failure *why_out);

enum err writer_begin(struct writer *w, struct writer_failure *why_out);
enum err writer_commit(struct writer *w, struct writer_failure *why_out);
void writer_rollback(struct writer *w); /* without a transaction: nothing */

/*
 * Inserts the keys of ${events} as applied: claims_out[i] says which are new, were there already (applied or
 * failed, with the same fingerprint), or clash (with another).  A key that was applied more than ${key_ttl_us}
 * before the event was accepted does not count any more, also where it has not been expired yet.
 */
enum writer_claim { WRITER_NEW, WRITER_APPLIED, WRITER_CLASH };
enum err writer_claim_keys(struct writer *w, const struct event *events, size_t count,
    int64_t now_us, int64_t key_ttl_us, enum writer_claim *claims_out,
    struct writer_failure *why_out);

/* Runs the endpoint's statement for one event, under the endpoint's timeout. */
enum err writer_apply(struct writer *w, const struct endpoint *e, const struct event *ev,
    int64_t now_us, int64_t *rows_out, struct writer_failure *why_out);
/* Notes the rows in the event's key. */
enum err writer_mark(
    struct writer *w, const struct event *ev, int64_t rows, struct writer_failure *why_out);

/* Writes a dead letter with ${ev->record}; the key, when it is this event's own, becomes failed. */
enum err writer_bury(struct writer *w, const struct event *ev, const struct writer_failure *reason,
    int64_t now_us, struct writer_failure *why_out);

/*
 * A dead letter's second life, in a transaction: its key becomes applied again (ERR_CONFLICT: it belongs to an
 * event that was applied, so this one must not be), then writer_apply(), then the letter goes.
 */
enum err writer_revive(
    struct writer *w, const struct event *ev, int64_t now_us, struct writer_failure *why_out);
enum err writer_drop_letter(struct writer *w, int64_t letter_id, struct writer_failure *why_out);
/* ${event_id} NULL: all of them. */
enum err writer_drop_letters(struct writer *w, const uint8_t *event_id, uint64_t *dropped_out,
    struct writer_failure *why_out);

/* Forgets keys applied before ${before_us}; looks at the oldest ${max}. */
enum err writer_expire_keys(
    struct writer *w, int64_t before_us, size_t max, struct writer_failure *why_out);

#endif
