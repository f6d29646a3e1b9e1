/*
 * The slow log.
 */
#include "service/slow_log.h"

#include <stdlib.h>

#include "base/log.h"
#include "policy/pace.h"

struct slow_log {
	struct log_file *file; /* NULL: the log */
	struct pace *plans;
};

static const struct pace_rules pace = { .any_ms = 1000, .kind_ms = 60000 };

enum err
slow_log_open(const char *file, struct pace *plans, struct slow_log **out)
{
	struct slow_log *l = calloc(1, sizeof *l);
	enum err rc = ERR_OK;

	if (l == NULL)
		return ERR_NOMEM;
	l->plans = plans;
	if (file != NULL)
		rc = log_file_open(file, &l->file);
	if (rc == ERR_OK)
		*out = l;
	else
		free(l);
	return rc;
}

void
slow_log_close(struct slow_log **lp)
{
	struct slow_log *l = *lp;

	if (l == NULL)
		return;
	*lp = NULL;
	log_file_close(&l->file);
	free(l);
}

void
slow_log_reopen(struct slow_log *l)
{
	if (l != NULL && l->file != NULL)
		(void)log_file_reopen(l->file);
}

bool
slow_log_may_explain(struct slow_log *l, uint64_t endpoint_hash, int64_t now_ms)
{
	return pace_take(l->plans, &pace, endpoint_hash, now_ms);
}

/* The plan comes last, for it is what a line that is too long is cut in. */
void
slow_log_write(struct slow_log *l, const struct slow_line *s)
{
	const struct log_field fields[] = {
		LOG_SLICE("request_id", s->request_id),
		LOG_SLICE("trace_id", s->trace_id),
		LOG_SLICE("endpoint", s->endpoint),
		LOG_SLICE("method", s->method),
		LOG_SLICE("route", s->route),
		LOG_INT("status", s->status),
		LOG_INT("us", s->took_us),
		LOG_STR("source", s->source),
		LOG_SLICE("params", s->params),
		LOG_SLICE("spans", s->spans),
		LOG_SLICE("plan", s->plan),
	};

	if (l->file != NULL)
		log_file_write(l->file, LOG_LEVEL_WARN, "slow_request", fields,
		    sizeof fields / sizeof *fields);
	else
		log_write(LOG_LEVEL_WARN, "slow_request", fields, sizeof fields / sizeof *fields);
}
