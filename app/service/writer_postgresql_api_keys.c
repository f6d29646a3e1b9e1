/*
 * API keys on PostgreSQL: one statement each.  Hosts share them by the table, so there is nothing to tell anybody.
 */
#include "service/writer_postgresql.h"

static enum err
run_one(struct pg_writer *w, const struct pg_statement *s, struct pg_result **out,
    struct writer_failure *why)
{
	return w->arena.overflowed ? writer_no_memory(why) : pg_writer_run(w, s, 1, out, why);
}

enum err
pg_writer_add_api_key(void *state, const struct api_key_row *row,
    const uint8_t digest[DIGEST_BYTES], int64_t now_us, struct writer_failure *why)
{
	struct pg_writer *w = state;
	struct pg_param params[] = { pg_text_param(row->id, &w->arena),
		pg_text_param(row->tenant, &w->arena), { .oid = PG_TEXT, .null = true },
		pg_bytes_param(digest, DIGEST_BYTES), pg_moment_param(now_us, &w->arena) };
	const struct pg_statement s = { "weir",
		"INSERT INTO weir_api_keys (id, tenant, plan, hash, created_at)"
		" VALUES ($1, $2, $3, $4, $5)",
		params, 5 };
	struct pg_result *r = NULL;
	enum err rc;

	if (row->plan.ptr != NULL)
		params[2] = pg_text_param(row->plan, &w->arena);
	rc = run_one(w, &s, &r, why);
	pg_result_free(&r);
	return rc;
}

/* A key that was revoked before keeps its moment, and shows by it. */
enum err
pg_writer_revoke_api_key(void *state, struct slice id, int64_t now_us, struct writer_failure *why)
{
	struct pg_writer *w = state;
	const struct pg_param params[] = { pg_text_param(id, &w->arena),
		pg_moment_param(now_us, &w->arena) };
	const struct pg_statement s = { "weir",
		"UPDATE weir_api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1"
		" RETURNING revoked_at = $2",
		params, 2 };
	struct pg_result *r = NULL;
	enum err rc = run_one(w, &s, &r, why);

	if (rc == ERR_OK)
		rc = writer_api_key_revoked(
		    pg_rows(r) > 0, pg_rows(r) > 0 && slice_eq_cstr(pg_text(r, 0, 0), "t"), why);
	pg_result_free(&r);
	return rc;
}
