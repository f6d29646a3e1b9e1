#ifndef SERVICE_WRITER_H
#define SERVICE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "service/api_key.h"
#include "service/event.h"

struct endpoint;
struct primary;

/*
 * The write database, as the consumer uses it, whatever it is: one connection, one transaction for a batch; a
 * driver behind one door.  For SQLite it is the only connection that writes and checkpoints, so only who
 * holds consumer.lock opens one; into PostgreSQL consumers of several hosts may write at once.  For one
 * thread.  Every call has a deadline of its own, of 5 s at most.
 *
 * weir's own tables, made by writer_migrate(): weir_keys(tenant, endpoint, key, fingerprint, event_id, state,
 * reason, rows, at), unique by event_id, weir_dead_letters, and weir_api_keys (service/api_key.h).  Moments have
 * six decimals.  Who only looks at events has service/ledger.h.
 *
 * Whatever is not ERR_OK has *${why_out} filled; the batch's transaction is then to be rolled back.
 */
struct writer;

struct writer_options {
	const char *url; /* sqlite:PATH or postgres://...; lent for the writer's life */
	/* Of PostgreSQL: where it is, lent (service/primary.h); NULL with SQLite. */
	struct primary *primary;
};

/* What a failure means for the batch (the table of SQLSTATE classes in writer.c). */
enum writer_verdict {
	WRITER_OK,
	WRITER_BAD_EVENT,      /* dead letter, once it failed alone */
	WRITER_BAD_MOMENT,     /* wait with back-off, same batch */
	WRITER_BAD_DEPLOYMENT, /* stop before it */
	WRITER_UNCLEAR,	       /* ten tries alone, then dead letter */
	WRITER_TOO_MUCH	       /* for the time that the batch has: fewer, at once */
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
enum err writer_open(
    const struct writer_options *o, struct writer **out, struct writer_failure *why_out);
void writer_close(struct writer **wp);
/* Which database that is, as OpenTelemetry calls it: "sqlite", "postgresql". */
const char *writer_system(const struct writer *w);
/* Makes what is missing, and touches nothing else; needs no right where nothing is missing. */
enum err writer_migrate(struct writer *w, struct writer_failure *why_out);

enum err writer_begin(struct writer *w, struct writer_failure *why_out);
/* A commit whose answer is lost may have happened: the same batch again finds out, by its keys.  What was committed by now,
 * this transaction too, is seen by who has come to *${position_out} (may be NULL; service/store.h); 0: by everybody. */
enum err writer_commit(struct writer *w, uint64_t *position_out, struct writer_failure *why_out);
void writer_rollback(struct writer *w); /* without a transaction: nothing */

/*
 * Inserts the keys of ${events} as applied: claims_out[i] says which are new, were there already (applied or
 * failed, with the same fingerprint), or clash (with another).  A key that was applied more than ${key_ttl_us}
 * before the event was accepted does not count any more, also where it has not been expired yet.  A key that
 * another transaction is about to claim is waited for.
 */
enum writer_claim { WRITER_NEW, WRITER_APPLIED, WRITER_CLASH };
enum err writer_claim_keys(struct writer *w, const struct event *events, size_t count,
    int64_t now_us, int64_t key_ttl_us, enum writer_claim *claims_out,
    struct writer_failure *why_out);

/*
 * Runs the statement of each event's endpoint, in order, each under its endpoint's timeout, and notes the
 * rows in the event's key.  *${done_out} went well before the one that failed.  WRITER_TOO_MUCH: at ${until_ms}
 * (monotonic) some were not begun yet; the first always is.
 */
struct writer_job {
	const struct endpoint *endpoint;
	const struct event *event;
};
enum err writer_apply(struct writer *w, const struct writer_job *jobs, size_t count, int64_t now_us,
    int64_t until_ms, size_t *done_out, struct writer_failure *why_out);

/* Writes a dead letter with ${ev->record}, unless the same one is there (a batch may come again after its commit);
 * the key, when it is this event's own, becomes failed. */
enum err writer_bury(struct writer *w, const struct event *ev, const struct writer_failure *reason,
    int64_t now_us, struct writer_failure *why_out);

/*
 * A dead letter's second life, in a transaction: its key becomes applied again (ERR_CONFLICT: it belongs to an
 * event that was applied, so this one must not be), then writer_apply(), then the letter goes (ERR_NOT_FOUND:
 * somebody else has dealt with it).
 */
enum err writer_revive(
    struct writer *w, const struct event *ev, int64_t now_us, struct writer_failure *why_out);
enum err writer_drop_letter(struct writer *w, int64_t letter_id, struct writer_failure *why_out);
/* ${event_id} NULL: all of them. */
enum err writer_drop_letters(struct writer *w, const uint8_t *event_id, uint64_t *dropped_out,
    struct writer_failure *why_out);

/* API keys, each call for itself.  ${row}: id, tenant, plan; the moment is ${now_us}. */
enum err writer_add_api_key(struct writer *w, const struct api_key_row *row,
    const uint8_t digest[DIGEST_BYTES], int64_t now_us, struct writer_failure *why_out);
/* ERR_NOT_FOUND: there is no such key; ERR_CONFLICT: it was revoked before. */
enum err writer_revoke_api_key(
    struct writer *w, struct slice id, int64_t now_us, struct writer_failure *why_out);

/* Forgets keys applied before ${before_us}; looks at the oldest ${max}. */
enum err writer_expire_keys(
    struct writer *w, int64_t before_us, size_t max, struct writer_failure *why_out);

#endif
