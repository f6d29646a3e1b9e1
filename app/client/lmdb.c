/*
 * LMDB: the environment, its transactions and its tables.  What is kept in
 * the tables is for the service above to say.
 *
 * Two rare states need the process's transactions to pause: another process
 * has made the map larger (adopt it), and a failed write of a meta page,
 * after which the library refuses everything (close and open again).  So
 * every transaction holds ${gate} for reading, and a cure holds it alone.
 */
#include "client/lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"

enum {
	OPEN_WAIT_MS = 15000, /* more than the supervisor lets a stopped worker live */
	LOCK_FILE_BYTES = LMDB_MAX_READERS * 64 + 4096,
	HEADER_BYTES = 16, /* of a page, and of a row with its number */
};

struct lmdb {
	MDB_env *env; /* NULL: a cure failed; the next transaction tries again */
	pthread_rwlock_t gate;
	char *dir;
	int dir_fd;
	size_t map_bytes, page_bytes;
	unsigned table_count;
	const char *table_names[LMDB_MAX_TABLES];
	MDB_dbi tables[LMDB_MAX_TABLES];
	struct log_gate said;
};

struct lmdb_txn {
	struct lmdb *owner;
	MDB_txn *txn;
	MDB_cursor *cursors[LMDB_MAX_TABLES]; /* opened when first used */
};

static enum err
err_of(int code)
{
	switch (code) {
	case MDB_SUCCESS:
		return ERR_OK;
	case MDB_NOTFOUND:
		return ERR_NOT_FOUND;
	case MDB_KEYEXIST:
		return ERR_CONFLICT;
	case MDB_MAP_FULL:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ERR_FULL;
	case MDB_TXN_FULL:
		return ERR_TOO_LARGE;
	case MDB_READERS_FULL:
		return ERR_OVERLOADED;
	case EACCES:
	case EPERM:
	case EROFS:
		return ERR_DENIED;
	case ENOMEM:
		return ERR_NOMEM;
	default:
		return ERR_IO;
	}
}

static enum err
fail(struct lmdb *l, const char *call, int code)
{
	uint64_t held;

	if (log_gate_open(&l->said, clock_mono_ms(), &held))
		log_warn("lmdb_failed", LOG_STR("call", call),
		    LOG_STR("reason", mdb_strerror(code)), LOG_INT("suppressed", held));
	return err_of(code);
}

/* For calls where "not found" is an answer. */
static enum err
answer(struct lmdb *l, const char *call, int code)
{
	return code == MDB_SUCCESS || code == MDB_NOTFOUND ? err_of(code) : fail(l, call, code);
}

/*
 * The library maps the lock file into a sparse file; a full disk would then be
 * a SIGBUS in whoever first uses a reader's slot.  Must be done while this
 * process has no environment: closing any descriptor of the file would
 * drop the library's record locks on it.
 */
static enum err
reserve_lock_file(int dir_fd)
{
	const int fd = openat(dir_fd, "lock.mdb", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int error;

	if (fd == -1)
		return err_of(errno);
	error = posix_fallocate(fd, 0, LOCK_FILE_BYTES);
	(void)close(fd);
	return err_of(error);
}

static int
open_tables(struct lmdb *l, unsigned txn_flags, unsigned table_flags)
{
	MDB_txn *txn;
	int code = mdb_txn_begin(l->env, NULL, txn_flags, &txn);

	if (code != MDB_SUCCESS)
		return code;
	for (unsigned i = 0; i < l->table_count && code == MDB_SUCCESS; i++)
		code = mdb_dbi_open(
		    txn, l->table_names[i], table_flags | MDB_INTEGERKEY, &l->tables[i]);
	if (code == MDB_SUCCESS)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return code;
}

static int
open_env(struct lmdb *l)
{
	int dead, code = mdb_env_create(&l->env);

	if (code != MDB_SUCCESS) {
		l->env = NULL;
		return code;
	}
	(void)mdb_env_set_maxreaders(l->env, LMDB_MAX_READERS);
	(void)mdb_env_set_maxdbs(l->env, l->table_count);
	code = mdb_env_set_mapsize(l->env, l->map_bytes);
	if (code == MDB_SUCCESS)
		code = mdb_env_open(l->env, l->dir, MDB_NOTLS, 0600);
	if (code == MDB_SUCCESS)
		code = mdb_reader_check(l->env, &dead);
	/* Reading first: a full disk must not keep a process from opening what is there. */
	if (code == MDB_SUCCESS)
		code = open_tables(l, MDB_RDONLY, 0);
	if (code == MDB_NOTFOUND)
		code = open_tables(l, 0, MDB_CREATE);
	if (code != MDB_SUCCESS) {
		mdb_env_close(l->env);
		l->env = NULL;
	}
	return code;
}

/*
 * The library cannot stand an open and a close at the same moment in two
 * processes (its own caveat), so both are done under a file lock.
 */
static enum err
reopen(struct lmdb *l)
{
	int lock_fd, code;
	enum err rc = lock_file(l->dir_fd, "open.lock", LOCK_EXCLUSIVE, OPEN_WAIT_MS, &lock_fd);

	if (rc != ERR_OK)
		return rc;
	mdb_env_close(l->env);
	l->env = NULL;
	rc = reserve_lock_file(l->dir_fd);
	if (rc == ERR_OK && (code = open_env(l)) != MDB_SUCCESS)
		rc = fail(l, "open", code);
	lock_file_release(&lock_fd);
	return rc;
}

enum err
lmdb_open(const struct lmdb_options *o, struct lmdb **out)
{
	struct lmdb *l = calloc(1, sizeof *l);
	enum err rc;

	*out = NULL;
	if (l == NULL)
		return ERR_NOMEM;
	l->dir = strdup(o->dir);
	l->dir_fd = o->dir_fd;
	l->page_bytes = (size_t)sysconf(_SC_PAGESIZE); /* as the library does */
	l->map_bytes = o->map_bytes / l->page_bytes * l->page_bytes;
	l->table_count = o->table_count;
	memcpy(l->table_names, o->table_names, o->table_count * sizeof *o->table_names);
	if (l->dir == NULL || pthread_rwlock_init(&l->gate, NULL) != 0) {
		free(l->dir);
		free(l);
		return ERR_NOMEM;
	}
	rc = reopen(l);
	*out = l;
	if (rc != ERR_OK)
		lmdb_close(out);
	return rc;
}

void
lmdb_close(struct lmdb **lp)
{
	struct lmdb *l = *lp;
	int lock_fd = -1;

	if (l == NULL)
		return;
	*lp = NULL;
	if (l->env != NULL) {
		/* Without the lock after the wait: leaving at last is worth the small risk. */
		(void)lock_file(l->dir_fd, "open.lock", LOCK_EXCLUSIVE, OPEN_WAIT_MS, &lock_fd);
		mdb_env_close(l->env);
		lock_file_release(&lock_fd);
	}
	(void)pthread_rwlock_destroy(&l->gate);
	free(l->dir);
	free(l);
}

/* Leaves the gate held for reading when it succeeds. */
static int
begin_once(struct lmdb *l, unsigned flags, MDB_txn **out)
{
	int code;

	(void)pthread_rwlock_rdlock(&l->gate);
	code = l->env == NULL ? MDB_PANIC : mdb_txn_begin(l->env, NULL, flags, out);
	if (code != MDB_SUCCESS)
		(void)pthread_rwlock_unlock(&l->gate);
	return code;
}

static bool
cure(struct lmdb *l, int code)
{
	bool cured = true;

	if (code == MDB_READERS_FULL) {
		lmdb_check_readers(l);
		return true;
	}
	if (code != MDB_MAP_RESIZED && code != MDB_PANIC)
		return false;
	(void)pthread_rwlock_wrlock(&l->gate);
	if (code == MDB_PANIC) {
		cured = reopen(l) == ERR_OK;
		log_warn("lmdb_reopened", LOG_STR("result", cured ? "ok" : "failed"));
	} else if (l->env != NULL) {
		cured = mdb_env_set_mapsize(l->env, 0) == MDB_SUCCESS;
	}
	(void)pthread_rwlock_unlock(&l->gate);
	return cured;
}

static enum err
begin(struct lmdb *l, unsigned flags, struct lmdb_txn **out)
{
	struct lmdb_txn *t = calloc(1, sizeof *t);
	int code;

	*out = NULL;
	if (t == NULL)
		return ERR_NOMEM;
	t->owner = l;
	code = begin_once(l, flags, &t->txn);
	if (code != MDB_SUCCESS && cure(l, code))
		code = begin_once(l, flags, &t->txn);
	if (code != MDB_SUCCESS) {
		free(t);
		return fail(l, "begin", code);
	}
	*out = t;
	return ERR_OK;
}

enum err
lmdb_begin_read(struct lmdb *l, struct lmdb_txn **out)
{
	return begin(l, MDB_RDONLY, out);
}

enum err
lmdb_begin_write(struct lmdb *l, struct lmdb_txn **out)
{
	return begin(l, 0, out);
}

static void
close_cursors(struct lmdb_txn *t)
{
	for (unsigned i = 0; i < LMDB_MAX_TABLES; i++)
		if (t->cursors[i] != NULL)
			mdb_cursor_close(t->cursors[i]);
}

enum err
lmdb_commit(struct lmdb_txn **tp)
{
	struct lmdb_txn *t = *tp;
	int code;

	*tp = NULL;
	close_cursors(t);
	code = mdb_txn_commit(t->txn);
	(void)pthread_rwlock_unlock(&t->owner->gate);
	if (code != MDB_SUCCESS) {
		const enum err rc = fail(t->owner, "commit", code);

		free(t);
		return rc;
	}
	free(t);
	return ERR_OK;
}

void
lmdb_abort(struct lmdb_txn **tp)
{
	struct lmdb_txn *t = *tp;

	if (t == NULL)
		return;
	*tp = NULL;
	close_cursors(t);
	mdb_txn_abort(t->txn);
	(void)pthread_rwlock_unlock(&t->owner->gate);
	free(t);
}

static MDB_val
val_of(const void *bytes, size_t len)
{
	/* The library's type has no const; it does not write there. */
	return (MDB_val){ .mv_size = len, .mv_data = (void *)(uintptr_t)bytes };
}

static enum err
row_out(const MDB_val *key, const MDB_val *value, uint64_t *seq_out, struct slice *value_out)
{
	if (key->mv_size != sizeof *seq_out)
		return ERR_IO; /* not a table of ours */
	memcpy(seq_out, key->mv_data, sizeof *seq_out);
	*value_out = (struct slice){ value->mv_data, value->mv_size };
	return ERR_OK;
}

enum err
lmdb_get(struct lmdb_txn *t, unsigned table, uint64_t seq, struct slice *value_out)
{
	MDB_val key = val_of(&seq, sizeof seq), value;
	const enum err rc =
	    answer(t->owner, "get", mdb_get(t->txn, t->owner->tables[table], &key, &value));

	if (rc == ERR_OK)
		*value_out = (struct slice){ value.mv_data, value.mv_size };
	return rc;
}

static enum err
move(struct lmdb_txn *t, unsigned table, MDB_cursor_op op, uint64_t from, uint64_t *seq_out,
    struct slice *value_out)
{
	MDB_val key = val_of(&from, sizeof from), value;
	int code = MDB_SUCCESS;
	enum err rc;

	if (t->cursors[table] == NULL)
		code = mdb_cursor_open(t->txn, t->owner->tables[table], &t->cursors[table]);
	if (code == MDB_SUCCESS)
		code = mdb_cursor_get(t->cursors[table], &key, &value, op);
	rc = answer(t->owner, "cursor", code);
	return rc == ERR_OK ? row_out(&key, &value, seq_out, value_out) : rc;
}

enum err
lmdb_seek(
    struct lmdb_txn *t, unsigned table, uint64_t from, uint64_t *seq_out, struct slice *value_out)
{
	return move(t, table, MDB_SET_RANGE, from, seq_out, value_out);
}

enum err
lmdb_last(struct lmdb_txn *t, unsigned table, uint64_t *seq_out, struct slice *value_out)
{
	return move(t, table, MDB_LAST, 0, seq_out, value_out);
}

enum err
lmdb_next(struct lmdb_txn *t, unsigned table, uint64_t *seq_out, struct slice *value_out)
{
	return move(t, table, MDB_NEXT, 0, seq_out, value_out);
}

enum err
lmdb_append(struct lmdb_txn *t, unsigned table, uint64_t seq, struct slice value)
{
	MDB_val key = val_of(&seq, sizeof seq), data = val_of(value.ptr, value.len);
	const int code = mdb_put(t->txn, t->owner->tables[table], &key, &data, MDB_APPEND);

	return code == MDB_SUCCESS ? ERR_OK : fail(t->owner, "append", code);
}

enum err
lmdb_drop_head(
    struct lmdb_txn *t, unsigned table, uint64_t through, size_t max, size_t *dropped_out)
{
	struct slice value;
	uint64_t seq;
	size_t n = 0;
	enum err rc = ERR_OK;
	int code;

	while (n < max) {
		rc = lmdb_seek(t, table, 0, &seq, &value);
		if (rc != ERR_OK || seq > through)
			break;
		code = mdb_cursor_del(t->cursors[table], 0);
		if (code != MDB_SUCCESS) {
			rc = fail(t->owner, "delete", code);
			break;
		}
		n++;
	}
	*dropped_out = n;
	return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

enum err
lmdb_table_size(struct lmdb_txn *t, unsigned table, struct lmdb_table_size *out)
{
	MDB_stat s;
	const int code = mdb_stat(t->txn, t->owner->tables[table], &s);

	*out = (struct lmdb_table_size){ 0 };
	if (code != MDB_SUCCESS)
		return fail(t->owner, "stat", code);
	out->rows = s.ms_entries;
	out->bytes =
	    (s.ms_branch_pages + s.ms_leaf_pages + s.ms_overflow_pages) * (uint64_t)s.ms_psize;
	return ERR_OK;
}

uint64_t
lmdb_row_bytes(const struct lmdb *l, size_t value_bytes)
{
	/* A new leaf, and once in a few hundred of them a new branch page. */
	const size_t page = l->page_bytes, leaf = 2 * page;

	/* A leaf must hold two rows; larger ones get pages of their own. */
	if (value_bytes + 4 * HEADER_BYTES < page / 2)
		return leaf;
	return leaf + (value_bytes + HEADER_BYTES + page - 1) / page * page;
}

void
lmdb_check_readers(struct lmdb *l)
{
	int dead = 0, code = MDB_SUCCESS;

	(void)pthread_rwlock_rdlock(&l->gate);
	if (l->env != NULL)
		code = mdb_reader_check(l->env, &dead);
	(void)pthread_rwlock_unlock(&l->gate);
	if (code != MDB_SUCCESS)
		(void)fail(l, "reader_check", code);
}
