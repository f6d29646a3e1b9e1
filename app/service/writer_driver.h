#ifndef SERVICE_WRITER_DRIVER_H
#define SERVICE_WRITER_DRIVER_H

#include "service/writer.h"

struct value;

/*
 * What one kind of write database must do.  The functions mean what those of writer.h mean; a test's fake is a
 * driver too.
 */
struct writer_driver {
	const char *schemes[2]; /* of the URL, with the colon; the second may be NULL */
	enum err (*open)(
	    const struct writer_options *o, void **state_out, struct writer_failure *why);
	void (*close)(void *state);
	enum err (*migrate)(void *state, struct writer_failure *why);
	enum err (*begin)(void *state, struct writer_failure *why);
	enum err (*commit)(void *state, uint64_t *position_out,
	    struct writer_failure *why); /* never NULL; set to 0 by the caller */
	void (*rollback)(void *state);
	enum err (*claim_keys)(void *state, const struct event *events, size_t count,
	    int64_t now_us, int64_t key_ttl_us, enum writer_claim *claims_out,
	    struct writer_failure *why);
	enum err (*apply)(void *state, const struct writer_job *jobs, size_t count, int64_t now_us,
	    int64_t until_ms, size_t *done_out, struct writer_failure *why);
	enum err (*bury)(void *state, const struct event *ev, const struct writer_failure *reason,
	    int64_t now_us, struct writer_failure *why);
	enum err (*revive)(
	    void *state, const struct event *ev, int64_t now_us, struct writer_failure *why);
	enum err (*drop_letter)(void *state, int64_t letter_id, struct writer_failure *why);
	enum err (*drop_letters)(void *state, const uint8_t *event_id, uint64_t *dropped_out,
	    struct writer_failure *why);
	enum err (*add_api_key)(void *state, const struct api_key_row *row,
	    const uint8_t digest[DIGEST_BYTES], int64_t now_us, struct writer_failure *why);
	enum err (*revoke_api_key)(
	    void *state, struct slice id, int64_t now_us, struct writer_failure *why);
	enum err (*expire_keys)(
	    void *state, int64_t before_us, size_t max, struct writer_failure *why);
};

extern const struct writer_driver writer_driver_sqlite, writer_driver_postgresql;

/* writer_open() with a driver that is in no table. */
enum err writer_open_driver(const struct writer_driver *driver, const struct writer_options *o,
    struct writer **out, struct writer_failure *why_out);

enum { WRITER_DEADLINE_MS = 5000 }; /* of one call; a consumer that is silent for 10 s is killed */

/* The event's values in the order of its endpoint's parameters, in the arena. */
enum err writer_values(const struct writer_job *job, struct arena *a, struct value **out,
    struct writer_failure *why_out);
/* How long the job's statement may take. */
int64_t writer_timeout_ms(const struct endpoint *e);
enum err writer_no_memory(struct writer_failure *why_out); /* ERR_NOMEM */

/* How a revocation ended: there is such a key, and it was good until now. */
enum err writer_api_key_revoked(bool there, bool ours, struct writer_failure *why_out);

/* True when ${url} begins with one of ${schemes}; the second may be NULL. */
bool writer_scheme_fits(const char *const schemes[2], const char *url);

#endif
