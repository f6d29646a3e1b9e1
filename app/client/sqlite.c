/*
 * SQLite, and nobody else includes its header.
 *
 * Two things it lacks are added: a deadline over everything (a busy handler and
 * a progress handler that look at the clock), and a cache of statements.  What
 * an error means is one table here, so that reads and the consumer agree.
 */
#include "client/sqlite.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

enum {
	CACHED_STATEMENTS = 256,
	STEPS_BETWEEN_LOOKS = 1000,
	LONGEST_NAP_MS = 25, /* between two tries for a lock */
};

struct sqlite_statement {
	struct sqlite *db;
	sqlite3_stmt *handle;
	struct hash128
	    key; /* of name and text: a reload makes endpoints anew, never equal by address */
	char *name;
	uint64_t used; /* tick of the last take */
	bool taken;
	int bind_code; /* first failure to bind */
};

struct sqlite {
	sqlite3 *handle;
	int64_t deadline_ms;
	bool quiet;
	uint64_t tick;
	struct sqlite_statement *statements[CACHED_STATEMENTS];
	size_t count;
	struct sqlite_fault fault;
};

/*
 * Primary result code to meaning.  SQLITE_ERROR is DEPLOYMENT here; fail_step() looks closer.
 */
static const struct meaning {
	int code;
	enum sqlite_fault_kind kind;
	const char *sqlstate;
} meanings[] = {
	{ SQLITE_CONSTRAINT, SQLITE_FAULT_VALUE, "23000" },
	{ SQLITE_MISMATCH, SQLITE_FAULT_VALUE, "22000" },
	{ SQLITE_TOOBIG, SQLITE_FAULT_VALUE, "22000" },
	{ SQLITE_RANGE, SQLITE_FAULT_VALUE, "22000" },
	{ SQLITE_BUSY, SQLITE_FAULT_MOMENT, "55000" },
	{ SQLITE_LOCKED, SQLITE_FAULT_MOMENT, "55000" },
	{ SQLITE_PROTOCOL, SQLITE_FAULT_MOMENT, "55000" },
	{ SQLITE_FULL, SQLITE_FAULT_MOMENT, "53100" },
	{ SQLITE_IOERR, SQLITE_FAULT_MOMENT, "58030" },
	{ SQLITE_NOMEM, SQLITE_FAULT_MOMENT, "53200" },
	{ SQLITE_CANTOPEN, SQLITE_FAULT_MOMENT, "08001" },
	{ SQLITE_ERROR, SQLITE_FAULT_DEPLOYMENT, "42000" },
	{ SQLITE_SCHEMA, SQLITE_FAULT_DEPLOYMENT, "42000" },
	{ SQLITE_READONLY, SQLITE_FAULT_DEPLOYMENT, "42501" },
	{ SQLITE_PERM, SQLITE_FAULT_DEPLOYMENT, "42501" },
	{ SQLITE_AUTH, SQLITE_FAULT_DEPLOYMENT, "42501" },
	{ SQLITE_INTERRUPT, SQLITE_FAULT_TIMEOUT, "57014" },
	{ SQLITE_CORRUPT, SQLITE_FAULT_BROKEN, "XX001" },
	{ SQLITE_NOTADB, SQLITE_FAULT_BROKEN, "XX001" },
};

static const struct meaning *
meaning_of(int code)
{
	static const struct meaning unknown = { SQLITE_ERROR, SQLITE_FAULT_DEPLOYMENT, "XX000" };

	for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
		if (meanings[i].code == (code & 0xff))
			return &meanings[i];
	return &unknown;
}

static enum err
err_of(enum sqlite_fault_kind kind)
{
	switch (kind) {
	case SQLITE_FAULT_NONE:
		return ERR_OK;
	case SQLITE_FAULT_VALUE:
		return ERR_INVALID;
	case SQLITE_FAULT_TIMEOUT:
		return ERR_TIMEOUT;
	case SQLITE_FAULT_MOMENT:
	case SQLITE_FAULT_DEPLOYMENT:
	case SQLITE_FAULT_BROKEN:
		break;
	}
	return ERR_UNAVAILABLE;
}

static void
say(const struct sqlite *db, const char *event, const char *name)
{
	static struct log_gate gate;
	uint64_t held;

	if (db->quiet || !log_gate_open(&gate, clock_mono_ms(), &held))
		return;
	log_warn(event, LOG_STR("statement", name), LOG_STR("sqlstate", db->fault.sqlstate),
	    LOG_INT("code", db->fault.code), LOG_STR("reason", db->fault.message),
	    LOG_INT("held_back", held));
}

/* Keeps what SQLite says of ${code}. */
static void
note(struct sqlite *db, int code)
{
	const struct meaning *m = meaning_of(code);
	const bool told =
	    db->handle != NULL && (sqlite3_errcode(db->handle) & 0xff) == (code & 0xff);

	db->fault = (struct sqlite_fault){ .kind = m->kind, .offset = -1, .code = code };
	(void)snprintf(db->fault.sqlstate, sizeof db->fault.sqlstate, "%s", m->sqlstate);
	(void)snprintf(db->fault.message, sizeof db->fault.message, "%s",
	    told ? sqlite3_errmsg(db->handle) : sqlite3_errstr(code));
	if (told) {
		db->fault.code = sqlite3_extended_errcode(db->handle);
		db->fault.offset = sqlite3_error_offset(db->handle);
	}
}

static enum err
fail(struct sqlite *db, int code, const char *event, const char *name)
{
	note(db, code);
	say(db, event, name);
	return err_of(db->fault.kind);
}

/* SQLite calls this every so many steps; not 0 ends the statement. */
static int
look_at_clock(void *arg)
{
	const struct sqlite *db = arg;

	return clock_mono_ms() >= db->deadline_ms;
}

/* Somebody else holds the lock: 0 gives up. */
static int
wait_for_lock(void *arg, int tries)
{
	const struct sqlite *db = arg;
	const int64_t left_ms = db->deadline_ms - clock_mono_ms();
	int64_t nap_ms = tries < LONGEST_NAP_MS ? tries + 1 : LONGEST_NAP_MS;

	if (left_ms <= 0)
		return 0;
	if (nap_ms > left_ms)
		nap_ms = left_ms;
	(void)nanosleep(&(struct timespec){ .tv_nsec = (long)nap_ms * 1000000 }, NULL);
	return 1;
}

/* Without its statistics SQLite takes no global lock for every allocation. */
static void
start_library(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	(void)sqlite3_initialize();
}

/*
 * A new file is made before SQLite does, for its mode: the -wal and -shm files take it over.  Only a
 * file that nobody has open is ever opened and closed here: closing would drop SQLite's own locks.
 */
static void
make_private(const char *path)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd != -1)
		(void)close(fd);
}

static int
open_handle(const struct sqlite_options *o, sqlite3 **out)
{
	const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

	switch (o->mode) {
	case SQLITE_FOR_READS:
		return sqlite3_open_v2(o->path, out, flags | SQLITE_OPEN_READONLY, NULL);
	case SQLITE_FOR_WRITES:
		make_private(o->path);
		return sqlite3_open_v2(
		    o->path, out, flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	case SQLITE_FOR_CHECKS:
		break;
	}
	return sqlite3_open_v2(":memory:", out,
	    flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MEMORY, NULL);
}

/*
 * "text" in double quotes is a name and never text, as in PostgreSQL; functions of the schema may not
 * reach outside; nothing writes SQLite's own tables.
 */
static void
harden(struct sqlite *db)
{
	(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	(void)sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0);
}

static enum err
prepare_connection(struct sqlite *db, const struct sqlite_options *o)
{
	harden(db);
	if (o->max_value_bytes > 0)
		(void)sqlite3_limit(db->handle, SQLITE_LIMIT_LENGTH,
		    o->max_value_bytes > INT32_MAX ? INT32_MAX : (int)o->max_value_bytes);
	(void)sqlite3_busy_handler(db->handle, wait_for_lock, db);
	sqlite3_progress_handler(db->handle, STEPS_BETWEEN_LOOKS, look_at_clock, db);
	switch (o->mode) {
	case SQLITE_FOR_READS:
		(void)sqlite3_wal_autocheckpoint(db->handle, 0);
		(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		return sqlite_exec(db, "PRAGMA query_only=1; PRAGMA mmap_size=0");
	case SQLITE_FOR_WRITES:
		return sqlite_exec(
		    db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=1");
	case SQLITE_FOR_CHECKS:
		break;
	}
	return ERR_OK;
}

enum err
sqlite_open(const struct sqlite_options *o, struct sqlite **out, struct sqlite_fault *why_out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct sqlite *db = calloc(1, sizeof *db);
	enum err rc = ERR_NOMEM;
	int code;

	(void)pthread_once(&once, start_library);
	if (db == NULL)
		return ERR_NOMEM;
	db->quiet = o->quiet;
	db->deadline_ms = o->deadline_ms;
	code = open_handle(o, &db->handle);
	rc = code == SQLITE_OK ? prepare_connection(db, o)
			       : fail(db, code, "sqlite_open_failed", o->path);
	if (rc == ERR_OK) {
		*out = db;
		return ERR_OK;
	}
	if (why_out != NULL)
		*why_out = db->fault;
	sqlite_close(&db);
	return rc;
}

static void
statement_free(struct sqlite_statement *s)
{
	(void)sqlite3_finalize(s->handle);
	free(s->name);
	free(s);
}

void
sqlite_close(struct sqlite **dbp)
{
	struct sqlite *db = *dbp;

	if (db == NULL)
		return;
	*dbp = NULL;
	for (size_t i = 0; i < db->count; i++)
		statement_free(db->statements[i]);
	(void)sqlite3_close(db->handle);
	free(db);
}

void
sqlite_deadline(struct sqlite *db, int64_t deadline_ms)
{
	db->deadline_ms = deadline_ms;
}

const struct sqlite_fault *
sqlite_last_fault(const struct sqlite *db)
{
	return &db->fault;
}

enum err
sqlite_exec(struct sqlite *db, const char *sql)
{
	const int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? ERR_OK : fail(db, code, "sqlite_exec_failed", sql);
}

bool
sqlite_in_transaction(const struct sqlite *db)
{
	return sqlite3_get_autocommit(db->handle) == 0;
}

int64_t
sqlite_changes(const struct sqlite *db)
{
	return sqlite3_changes64(db->handle);
}

static struct hash128
key_of(struct slice name, struct slice sql)
{
	const struct hash128 n = hash128(name.ptr, name.len), q = hash128(sql.ptr, sql.len);
	const uint64_t both[] = { n.lo, n.hi, q.lo, q.hi };

	return hash128(both, sizeof both);
}

static struct sqlite_statement *
find(struct sqlite *db, struct hash128 key)
{
	for (size_t i = 0; i < db->count; i++) {
		struct sqlite_statement *s = db->statements[i];

		if (!s->taken && s->key.lo == key.lo && s->key.hi == key.hi)
			return s;
	}
	return NULL;
}

/* Where a new one goes: behind the last, else where the longest unused one was.  NULL: all are taken. */
static struct sqlite_statement **
place(struct sqlite *db)
{
	struct sqlite_statement **oldest = NULL;

	if (db->count < CACHED_STATEMENTS)
		return &db->statements[db->count++];
	for (size_t i = 0; i < db->count; i++)
		if (!db->statements[i]->taken &&
		    (oldest == NULL || db->statements[i]->used < (*oldest)->used))
			oldest = &db->statements[i];
	if (oldest != NULL)
		statement_free(*oldest);
	return oldest;
}

static sqlite3_stmt *
prepare(struct sqlite *db, struct slice sql, int *code_out)
{
	sqlite3_stmt *handle = NULL;

	*code_out = sql.len > INT32_MAX ? SQLITE_TOOBIG
					: sqlite3_prepare_v3(db->handle, sql.ptr, (int)sql.len,
					      SQLITE_PREPARE_PERSISTENT, &handle, NULL);
	if (*code_out == SQLITE_OK && handle == NULL)
		*code_out = SQLITE_MISUSE; /* nothing but blanks and comments */
	return handle;
}

static enum err
make(struct sqlite *db, struct slice name, struct slice sql, struct sqlite_statement **out)
{
	struct sqlite_statement *s = calloc(1, sizeof *s);
	struct sqlite_statement **at;
	int code = SQLITE_NOMEM;
	enum err rc;

	if (s != NULL)
		s->name = strndup(name.len == 0 ? "" : name.ptr, name.len);
	if (s != NULL && s->name != NULL)
		s->handle = prepare(db, sql, &code);
	if (code == SQLITE_OK) {
		at = place(db);
		if (at != NULL) {
			s->db = db;
			*out = *at = s;
			return ERR_OK;
		}
		code = SQLITE_NOMEM;
	}
	rc = fail(db, code, "sqlite_prepare_failed", s == NULL || s->name == NULL ? "" : s->name);
	if (s != NULL)
		statement_free(s);
	return rc;
}

enum err
sqlite_take(struct sqlite *db, struct slice name, struct slice sql, struct sqlite_statement **out)
{
	const struct hash128 key = key_of(name, sql);
	struct sqlite_statement *s = find(db, key);
	enum err rc = ERR_OK;

	if (s == NULL)
		rc = make(db, name, sql, &s);
	if (rc != ERR_OK)
		return rc;
	s->key = key;
	s->taken = true;
	s->used = ++db->tick;
	*out = s;
	return ERR_OK;
}

void
sqlite_give(struct sqlite_statement **sp)
{
	struct sqlite_statement *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	sqlite_rewind(s);
	(void)sqlite3_clear_bindings(s->handle);
	s->bind_code = SQLITE_OK;
	s->taken = false;
}

static void
note_bind(struct sqlite_statement *s, int code)
{
	if (s->bind_code == SQLITE_OK)
		s->bind_code = code;
}

void
sqlite_bind_null(struct sqlite_statement *s, int index)
{
	note_bind(s, sqlite3_bind_null(s->handle, index));
}

void
sqlite_bind_integer(struct sqlite_statement *s, int index, int64_t value)
{
	note_bind(s, sqlite3_bind_int64(s->handle, index, value));
}

void
sqlite_bind_real(struct sqlite_statement *s, int index, double value)
{
	note_bind(s, sqlite3_bind_double(s->handle, index, value));
}

/* An absent slice is empty, not NULL: NULL is said by name. */
void
sqlite_bind_text(struct sqlite_statement *s, int index, struct slice value)
{
	note_bind(s, sqlite3_bind_text64(s->handle, index, value.ptr == NULL ? "" : value.ptr,
			 value.len, SQLITE_STATIC, SQLITE_UTF8));
}

void
sqlite_bind_blob(struct sqlite_statement *s, int index, struct slice value)
{
	note_bind(s, sqlite3_bind_blob64(s->handle, index, value.ptr == NULL ? "" : value.ptr,
			 value.len, SQLITE_STATIC));
}

/*
 * SQLITE_ERROR of a running statement is either a function that refuses its values ("malformed JSON")
 * or a schema that changed so that the statement does not fit any more.  Preparing it once more tells:
 * a client's bytes must not look like a bad deployment, which stops the consumer.
 */
static bool
still_fits(const struct sqlite_statement *s)
{
	sqlite3_stmt *again = NULL;
	const int code =
	    sqlite3_prepare_v3(s->db->handle, sqlite3_sql(s->handle), -1, 0, &again, NULL);

	(void)sqlite3_finalize(again);
	return code == SQLITE_OK;
}

static enum err
fail_step(struct sqlite_statement *s, int code)
{
	struct sqlite_fault *f = &s->db->fault;

	note(s->db, code);
	if ((code & 0xff) == SQLITE_ERROR && still_fits(s)) {
		f->kind = SQLITE_FAULT_VALUE;
		(void)snprintf(f->sqlstate, sizeof f->sqlstate, "22000");
	}
	say(s->db, "sqlite_step_failed", s->name);
	return err_of(f->kind);
}

enum err
sqlite_step(struct sqlite_statement *s, bool *row_out)
{
	int code = s->bind_code;

	if (code == SQLITE_OK && clock_mono_ms() >= s->db->deadline_ms)
		code = SQLITE_INTERRUPT; /* a short statement would end before the first look */
	if (code == SQLITE_OK)
		code = sqlite3_step(s->handle);
	*row_out = code == SQLITE_ROW;
	return code == SQLITE_ROW || code == SQLITE_DONE ? ERR_OK : fail_step(s, code);
}

void
sqlite_rewind(struct sqlite_statement *s)
{
	(void)sqlite3_reset(s->handle); /* repeats the failure that sqlite_step() has told */
}

int
sqlite_columns(const struct sqlite_statement *s)
{
	return sqlite3_column_count(s->handle);
}

const char *
sqlite_column_name(const struct sqlite_statement *s, int column)
{
	const char *name = sqlite3_column_name(s->handle, column);

	return name == NULL ? "" : name; /* NULL: no memory */
}

const char *
sqlite_column_type(const struct sqlite_statement *s, int column)
{
	return sqlite3_column_decltype(s->handle, column);
}

bool
sqlite_is_readonly(const struct sqlite_statement *s)
{
	return sqlite3_stmt_readonly(s->handle) != 0;
}

struct sqlite_cell
sqlite_cell(struct sqlite_statement *s, int column)
{
	struct sqlite_cell c = { .kind = SQLITE_KIND_NULL };

	switch (sqlite3_column_type(s->handle, column)) {
	case SQLITE_INTEGER:
		c.kind = SQLITE_KIND_INTEGER;
		c.integer = sqlite3_column_int64(s->handle, column);
		break;
	case SQLITE_FLOAT:
		c.kind = SQLITE_KIND_REAL;
		c.real = sqlite3_column_double(s->handle, column);
		break;
	case SQLITE_TEXT:
	case SQLITE_BLOB:
		c.kind = sqlite3_column_type(s->handle, column) == SQLITE_TEXT ? SQLITE_KIND_TEXT
									       : SQLITE_KIND_BLOB;
		c.bytes.ptr = sqlite3_column_blob(s->handle, column);
		c.bytes.len = (size_t)sqlite3_column_bytes(s->handle, column);
		if (c.bytes.ptr == NULL)
			c.bytes = SLICE("");
		break;
	default:
		break;
	}
	return c;
}
