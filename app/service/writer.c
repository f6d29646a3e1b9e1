/*
 * The write database, whatever it is: the URL chooses the driver.  What failures mean, whichever
 * database it is, stands in the table here; the databases are next door, one a file.
 */
#include "service/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/endpoint.h"
#include "service/writer_driver.h"

struct writer {
	const struct writer_driver *driver;
	void *state;
};

static const struct writer_driver *const drivers[] = { &writer_driver_sqlite,
	&writer_driver_postgresql };

/* A whole code before its class. */
static const struct {
	char state[6];
	enum writer_verdict verdict;
} verdicts[] = {
	{ "57014",
	    WRITER_UNCLEAR }, /* cancelled or too slow: the statement's fault, or the load's */
	{ "25006", WRITER_BAD_MOMENT }, /* read only: on a standby */
	{ "21", WRITER_BAD_EVENT },
	{ "22", WRITER_BAD_EVENT },
	{ "23", WRITER_BAD_EVENT },
	{ "39", WRITER_BAD_EVENT },
	{ "44", WRITER_BAD_EVENT },
	{ "54", WRITER_BAD_EVENT },
	{ "P0", WRITER_BAD_EVENT },
	{ "08", WRITER_BAD_MOMENT },
	{ "40", WRITER_BAD_MOMENT },
	{ "53", WRITER_BAD_MOMENT },
	{ "55", WRITER_BAD_MOMENT },
	{ "57", WRITER_BAD_MOMENT },
	{ "58", WRITER_BAD_MOMENT },
	{ "0A", WRITER_BAD_DEPLOYMENT },
	{ "26", WRITER_BAD_DEPLOYMENT },
	{ "28", WRITER_BAD_DEPLOYMENT },
	{ "2F", WRITER_BAD_DEPLOYMENT },
	{ "3F", WRITER_BAD_DEPLOYMENT },
	{ "42", WRITER_BAD_DEPLOYMENT },
	{ "00", WRITER_OK },
};

enum writer_verdict
writer_verdict_of(const char *sqlstate)
{
	for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++)
		if (strncmp(sqlstate, verdicts[i].state, strlen(verdicts[i].state)) == 0)
			return verdicts[i].verdict;
	return WRITER_UNCLEAR;
}

void
writer_failure_set(struct writer_failure *why, enum writer_verdict verdict, const char *sqlstate,
    const char *message)
{
	*why = (struct writer_failure){ .verdict = verdict };
	(void)snprintf(why->sqlstate, sizeof why->sqlstate, "%s", sqlstate);
	(void)snprintf(why->message, sizeof why->message, "%s", message);
}

enum err
writer_no_memory(struct writer_failure *why)
{
	writer_failure_set(why, WRITER_BAD_MOMENT, "53200", "out of memory");
	return ERR_NOMEM;
}

enum err
writer_values(
    const struct writer_job *job, struct arena *a, struct value **out, struct writer_failure *why)
{
	*out = arena_alloc(a, (job->endpoint->param_count + 1) * sizeof **out);
	if (*out == NULL)
		return writer_no_memory(why);
	if (event_values(job->endpoint, job->event, *out) == ERR_OK)
		return ERR_OK;
	writer_failure_set(why, WRITER_BAD_DEPLOYMENT, "42000",
	    "the event has not all parameters that its endpoint file now asks for");
	return ERR_UNAVAILABLE;
}

enum err
writer_api_key_revoked(bool there, bool ours, struct writer_failure *why)
{
	if (there && ours)
		return ERR_OK;
	writer_failure_set(why, WRITER_BAD_EVENT, "02000",
	    there ? "the key was revoked before" : "there is no such key");
	return there ? ERR_CONFLICT : ERR_NOT_FOUND;
}

int64_t
writer_timeout_ms(const struct endpoint *e)
{
	return e->timeout_ms > 0 && e->timeout_ms < WRITER_DEADLINE_MS ? e->timeout_ms
								       : WRITER_DEADLINE_MS;
}

bool
writer_scheme_fits(const char *const schemes[2], const char *url)
{
	for (size_t i = 0; i < 2; i++)
		if (schemes[i] != NULL && strncmp(url, schemes[i], strlen(schemes[i])) == 0)
			return true;
	return false;
}

enum err
writer_open_driver(const struct writer_driver *driver, const struct writer_options *o,
    struct writer **out, struct writer_failure *why)
{
	struct writer *w = calloc(1, sizeof *w);
	enum err rc;

	*out = NULL;
	if (w == NULL)
		return writer_no_memory(why);
	w->driver = driver;
	rc = driver->open(o, &w->state, why);
	if (rc == ERR_OK)
		*out = w;
	else
		free(w);
	return rc;
}

enum err
writer_open(const struct writer_options *o, struct writer **out, struct writer_failure *why)
{
	*out = NULL;
	for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
		if (writer_scheme_fits(drivers[i]->schemes, o->url))
			return writer_open_driver(drivers[i], o, out, why);
	writer_failure_set(why, WRITER_BAD_DEPLOYMENT, "08001", "not the URL of a database");
	return ERR_INVALID;
}

void
writer_close(struct writer **wp)
{
	struct writer *w = *wp;

	if (w == NULL)
		return;
	*wp = NULL;
	w->driver->close(w->state);
	free(w);
}

const char *
writer_system(const struct writer *w)
{
	return w->driver == &writer_driver_postgresql ? "postgresql" : "sqlite";
}

enum err
writer_migrate(struct writer *w, struct writer_failure *why)
{
	return w->driver->migrate(w->state, why);
}

enum err
writer_begin(struct writer *w, struct writer_failure *why)
{
	return w->driver->begin(w->state, why);
}

enum err
writer_commit(struct writer *w, uint64_t *position_out, struct writer_failure *why)
{
	uint64_t position = 0;
	const enum err rc = w->driver->commit(w->state, &position, why);

	if (position_out != NULL)
		*position_out = position;
	return rc;
}

void
writer_rollback(struct writer *w)
{
	w->driver->rollback(w->state);
}

enum err
writer_claim_keys(struct writer *w, const struct event *events, size_t count, int64_t now_us,
    int64_t key_ttl_us, enum writer_claim *claims_out, struct writer_failure *why)
{
	return w->driver->claim_keys(w->state, events, count, now_us, key_ttl_us, claims_out, why);
}

enum err
writer_apply(struct writer *w, const struct writer_job *jobs, size_t count, int64_t now_us,
    int64_t until_ms, size_t *done_out, struct writer_failure *why)
{
	*done_out = 0;
	return count == 0
		   ? ERR_OK
		   : w->driver->apply(w->state, jobs, count, now_us, until_ms, done_out, why);
}

enum err
writer_bury(struct writer *w, const struct event *ev, const struct writer_failure *reason,
    int64_t now_us, struct writer_failure *why)
{
	return w->driver->bury(w->state, ev, reason, now_us, why);
}

enum err
writer_revive(struct writer *w, const struct event *ev, int64_t now_us, struct writer_failure *why)
{
	return w->driver->revive(w->state, ev, now_us, why);
}

enum err
writer_drop_letter(struct writer *w, int64_t letter_id, struct writer_failure *why)
{
	return w->driver->drop_letter(w->state, letter_id, why);
}

enum err
writer_drop_letters(
    struct writer *w, const uint8_t *event_id, uint64_t *dropped_out, struct writer_failure *why)
{
	return w->driver->drop_letters(w->state, event_id, dropped_out, why);
}

enum err
writer_add_api_key(struct writer *w, const struct api_key_row *row,
    const uint8_t digest[DIGEST_BYTES], int64_t now_us, struct writer_failure *why)
{
	return w->driver->add_api_key(w->state, row, digest, now_us, why);
}

enum err
writer_revoke_api_key(struct writer *w, struct slice id, int64_t now_us, struct writer_failure *why)
{
	return w->driver->revoke_api_key(w->state, id, now_us, why);
}

enum err
writer_expire_keys(struct writer *w, int64_t before_us, size_t max, struct writer_failure *why)
{
	return w->driver->expire_keys(w->state, before_us, max, why);
}
