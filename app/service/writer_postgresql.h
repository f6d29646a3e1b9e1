#ifndef SERVICE_WRITER_POSTGRESQL_H
#define SERVICE_WRITER_POSTGRESQL_H

#include "base/arena.h"
#include "client/pg.h"
#include "service/primary.h"
#include "service/writer_driver.h"

/*
 * The inside of the write database on PostgreSQL, shared by its four files: the connection and the dead letters
 * (writer_postgresql.c), the key table (writer_postgresql_keys.c), the endpoints' statements
 * (writer_postgresql_apply.c), the API keys (writer_postgresql_api_keys.c).
 */
struct pg_writer {
	struct primary *primary;
	struct primary_link link;
	struct pg *pg;	    /* of the link */
	struct arena arena; /* of one call */
	int64_t own_ms;	    /* the longest that a statement of weir's own may take */
	bool wanted;	    /* writer_begin() was called; BEGIN goes out with the first statement */
	bool begun;
	int64_t set_ms; /* statement_timeout as it stands; 0: not set in this transaction */
	size_t stride;	/* statements sent at once */
};

/*
 * One round trip, in ${all_ms} at most.  pg_call_begin() sends what must stand before: BEGIN, and timeouts for a
 * statement of ${ms}.  Then pg_send() and so on, pg_call_go(), pg_fetch() for each, and always pg_call_end() after
 * a good begin.
 */
struct pg_call {
	struct pg_writer *w;
	struct primary_call guarded;
	size_t before; /* answers to what stands before */
};
enum err pg_call_begin(struct pg_writer *w, int64_t ms, int64_t all_ms, struct pg_call *out,
    struct writer_failure *why);
enum err pg_call_go(struct pg_call *c);
/* ${rc}: how it went so far.  ${own}: it was weir's own statement, so no event is to blame. */
enum err pg_call_end(struct pg_call *c, enum err rc, bool own, struct writer_failure *why);

/* Timeouts for the statements that follow.  An answer more to be fetched. */
enum err pg_writer_set_timeout(struct pg_writer *w, int64_t ms);
void pg_writer_explain(
    const struct pg_writer *w, const struct pg_fault *f, bool own, struct writer_failure *why);

/* A call of weir's own statements; *${results_out}[i] are the caller's, NULL where it failed. */
enum err pg_writer_run(struct pg_writer *w, const struct pg_statement *s, size_t count,
    struct pg_result **results_out, struct writer_failure *why);

/* Parameters; texts that PostgreSQL could not hold are mended, so that a dead letter can always be written. */
struct pg_param pg_text_param(struct slice text, struct arena *a);
struct pg_param pg_moment_param(int64_t wall_us, struct arena *a);
struct pg_param pg_id_param(const uint8_t *event_id, struct arena *a);
struct pg_param pg_bytes_param(const void *bytes, size_t len);

enum err pg_writer_claim_keys(void *state, const struct event *events, size_t count, int64_t now_us,
    int64_t key_ttl_us, enum writer_claim *claims_out, struct writer_failure *why);
enum err pg_writer_expire_keys(
    void *state, int64_t before_us, size_t max, struct writer_failure *why);
/* Notes how many rows the event of each job touched, where it was not one. */
enum err pg_writer_note_rows(struct pg_writer *w, const struct writer_job *jobs,
    const int64_t *rows, size_t count, struct writer_failure *why);

enum err pg_writer_apply(void *state, const struct writer_job *jobs, size_t count, int64_t now_us,
    int64_t until_ms, size_t *done_out, struct writer_failure *why);

enum err pg_writer_add_api_key(void *state, const struct api_key_row *row,
    const uint8_t digest[DIGEST_BYTES], int64_t now_us, struct writer_failure *why);
enum err pg_writer_revoke_api_key(
    void *state, struct slice id, int64_t now_us, struct writer_failure *why);

#endif
