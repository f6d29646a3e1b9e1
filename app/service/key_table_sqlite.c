/*
 * API keys in the embedded database.
 *
 * Looking has read-only connections of its own, beside those of the reads: keys live in the write database, which may be
 * another file.  Adding and revoking are done by a command in the consumer's place, so theirs is then the only
 * connection that writes.
 */
#include <stdlib.h>
#include <string.h>

#include "client/sqlite.h"
#include "service/key_table_driver.h"
#include "service/sqlite_pool.h"
#include "service/store.h"

struct state {
	const char *path; /* of the options' URL */
	struct sqlite_pool *pool;
};

static enum err
open_table(const struct key_table_options *o, void **state_out)
{
	const struct store_options pool = { .idle_timeout_ms = o->idle_timeout_ms,
		.max_connections = o->max_connections };
	struct state *s = calloc(1, sizeof *s);
	enum err rc;

	if (s == NULL)
		return ERR_NOMEM;
	s->path = strchr(o->url, ':') + 1;
	rc = sqlite_pool_open(s->path, &pool, &s->pool);
	if (rc == ERR_OK)
		*state_out = s;
	else
		free(s);
	return rc;
}

static void
close_table(void *state)
{
	struct state *s = state;

	sqlite_pool_close(&s->pool);
	free(s);
}

static void
expire(void *state, int64_t now_ms)
{
	struct state *s = state;

	sqlite_pool_expire(s->pool, now_ms);
}

static enum err
read_row(struct sqlite_statement *s, struct key_found *out)
{
	const struct slice digest = sqlite_cell(s, 0).bytes;

	if (digest.len != sizeof out->digest)
		return ERR_NOT_FOUND;
	memcpy(out->digest, digest.ptr, digest.len);
	out->revoked = sqlite_cell(s, 2).kind != SQLITE_KIND_NULL;
	return key_found_tenant(out, sqlite_cell(s, 1).bytes);
}

/* A statement that fails for its own sake (no such table: the migration is late) is a database that cannot be asked. */
static enum err
find(void *state, struct slice id, int64_t deadline_ms, struct key_found *out)
{
	static const char sql[] =
	    "SELECT hash, tenant, revoked_at FROM weir_api_keys WHERE id = ?1";
	struct state *st = state;
	struct sqlite_statement *s = NULL;
	struct sqlite *db;
	bool row = false;
	enum err rc = sqlite_pool_borrow(st->pool, deadline_ms, &db), found = ERR_NOT_FOUND;

	if (rc != ERR_OK)
		return rc;
	rc = sqlite_take(db, SLICE("weir"), slice_of(sql), &s);
	if (rc == ERR_OK) {
		sqlite_bind_text(s, 1, id);
		rc = sqlite_step(s, &row);
	}
	if (rc == ERR_OK && row)
		found = read_row(s, out);
	sqlite_give(&s);
	sqlite_pool_return(st->pool, &db, rc);
	return rc == ERR_OK ? found : rc;
}

static struct slice
text_or_absent(struct sqlite_statement *s, int column)
{
	const struct sqlite_cell c = sqlite_cell(s, column);

	return c.kind == SQLITE_KIND_NULL ? (struct slice){ NULL, 0 } : c.bytes;
}

static void
tell(struct sqlite_statement *s, key_row_fn *fn, void *ctx)
{
	const struct key_row row = { .id = text_or_absent(s, 0),
		.tenant = text_or_absent(s, 1),
		.plan = text_or_absent(s, 2),
		.created_at = text_or_absent(s, 3),
		.revoked_at = text_or_absent(s, 4) };

	fn(ctx, &row);
}

static enum err
list(void *state, int64_t deadline_ms, key_row_fn *fn, void *ctx)
{
	static const char sql[] = "SELECT id, tenant, plan, created_at, revoked_at"
				  " FROM weir_api_keys ORDER BY created_at, id";
	struct state *st = state;
	struct sqlite_statement *s = NULL;
	struct sqlite *db;
	bool row = false;
	enum err rc = sqlite_pool_borrow(st->pool, deadline_ms, &db);

	if (rc != ERR_OK)
		return rc;
	rc = sqlite_take(db, SLICE("weir"), slice_of(sql), &s);
	if (rc == ERR_OK)
		rc = sqlite_step(s, &row);
	while (rc == ERR_OK && row) {
		tell(s, fn, ctx);
		rc = sqlite_step(s, &row);
	}
	sqlite_give(&s);
	sqlite_pool_return(st->pool, &db, rc);
	return rc;
}

/*
 * Writing: one connection for one statement.
 */
struct writing {
	struct sqlite *db;
	struct sqlite_statement *s;
};

static enum err
begin(struct state *st, const char *sql, int64_t deadline_ms, struct writing *w)
{
	const struct sqlite_options o = {
		.path = st->path, .mode = SQLITE_FOR_WRITES, .deadline_ms = deadline_ms
	};
	enum err rc = sqlite_open(&o, &w->db, NULL);

	if (rc == ERR_OK)
		rc = sqlite_take(w->db, SLICE("weir"), slice_of(sql), &w->s);
	return rc;
}

/* Runs what was bound; ${rc} is how it went so far.  *${rows_out}: how many it changed. */
static enum err
end(struct writing *w, enum err rc, int64_t *rows_out)
{
	bool row;

	*rows_out = 0;
	if (rc == ERR_OK)
		rc = sqlite_step(w->s, &row);
	if (rc == ERR_OK)
		*rows_out = sqlite_changes(w->db);
	sqlite_give(&w->s);
	sqlite_close(&w->db);
	return rc;
}

static enum err
add(void *state, const struct key_row *row, const uint8_t digest[DIGEST_BYTES], int64_t deadline_ms)
{
	struct writing w = { .db = NULL };
	int64_t rows;
	enum err rc = begin(state,
	    "INSERT INTO weir_api_keys (id, tenant, plan, hash, created_at)"
	    " VALUES (?1, ?2, ?3, ?4, ?5)",
	    deadline_ms, &w);

	if (rc == ERR_OK) {
		sqlite_bind_text(w.s, 1, row->id);
		sqlite_bind_text(w.s, 2, row->tenant);
		if (row->plan.ptr != NULL)
			sqlite_bind_text(w.s, 3, row->plan);
		sqlite_bind_blob(w.s, 4, (struct slice){ (const char *)digest, DIGEST_BYTES });
		sqlite_bind_text(w.s, 5, row->created_at);
	}
	return end(&w, rc, &rows);
}

static enum err
has(struct state *st, struct slice id, int64_t deadline_ms)
{
	struct key_found ignored;

	return find(st, id, deadline_ms, &ignored);
}

static enum err
revoke(void *state, struct slice id, struct slice now, int64_t deadline_ms)
{
	struct writing w = { .db = NULL };
	int64_t rows;
	enum err rc = begin(state,
	    "UPDATE weir_api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
	    deadline_ms, &w);

	if (rc == ERR_OK) {
		sqlite_bind_text(w.s, 1, id);
		sqlite_bind_text(w.s, 2, now);
	}
	rc = end(&w, rc, &rows);
	if (rc != ERR_OK || rows > 0)
		return rc;
	rc = has(state, id, deadline_ms);
	return rc == ERR_OK ? ERR_CONFLICT : rc;
}

const struct key_table_driver key_table_sqlite = {
	.scheme = "sqlite",
	.open = open_table,
	.close = close_table,
	.expire = expire,
	.find = find,
	.list = list,
	.add = add,
	.revoke = revoke,
};
