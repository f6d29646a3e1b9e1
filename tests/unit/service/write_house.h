#ifndef TESTS_UNIT_SERVICE_WRITE_HOUSE_H
#define TESTS_UNIT_SERVICE_WRITE_HOUSE_H

#include "base/clock.h"
#include "base/fault.h"
#include "client/sqlite.h"
#include "service/catalog.h"
#include "service/handler_files.h"
#include "service/ingest.h"
#include "tests/unit/service/spool_house.h"

/*
 * Everything behind a 202: a spool, endpoint files, and a write database with the one table that they write.
 * `things` forbids nothing but the payload 'bad', so that an event applied twice shows as two rows.
 */
struct write_house {
	struct spool_house s;
	char db[4300], url[4310];
	struct fault_list faults;
	const struct catalog *catalog;
	struct ingest_options o;
	struct ingest_shared *shared;
	bool postgresql; /* see pg_house.h; then db and url are of nothing */
};

static inline void
house_file(const struct write_house *h, const char *name, const char *text)
{
	const int fd = openat(h->s.dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	CU_ASSERT_EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
}

static inline void
house_load(struct write_house *h)
{
	struct handler_files files;
	const struct catalog_options o = { .files = &files,
		.postgresql = h->postgresql,
		.timeout_ms = 3000,
		.max_body_bytes = 1 << 20,
		.limit_quota = 100,
		.limit_window_ms = 1000 };

	catalog_release(&h->catalog);
	fault_free(&h->faults);
	fault_init(&h->faults);
	if (handler_files_read(h->s.dir, &h->faults, &files) != ERR_OK ||
	    catalog_load(&o, &h->faults, &h->catalog) != ERR_OK)
		fault_print(&h->faults, STDERR_FILENO);
	handler_files_free(&files);
	CU_ASSERT_PTR_NOT_NULL_FATAL(h->catalog);
	h->o.catalog = h->catalog;
}

/* A statement through a connection of its own. */
static inline enum err
house_run(const struct write_house *h, const char *sql)
{
	const struct sqlite_options o = {
		.path = h->db, .mode = SQLITE_FOR_WRITES, .deadline_ms = clock_mono_ms() + 10000
	};
	struct sqlite *db;
	enum err rc = sqlite_open(&o, &db, NULL);

	if (rc != ERR_OK)
		return rc;
	rc = sqlite_exec(db, sql);
	sqlite_close(&db);
	return rc;
}

/* The first column of the first row; its bytes are copied to ${text}.  -1: no row. */
static inline int64_t
house_cell(const struct write_house *h, const char *sql, char text[256])
{
	const struct sqlite_options o = {
		.path = h->db, .mode = SQLITE_FOR_READS, .deadline_ms = clock_mono_ms() + 10000
	};
	struct sqlite_statement *s = NULL;
	struct sqlite_cell cell;
	struct sqlite *db;
	int64_t answer = -1;
	bool row = false;

	text[0] = '\0';
	CU_ASSERT_EQUAL_FATAL(sqlite_open(&o, &db, NULL), ERR_OK);
	CU_ASSERT_EQUAL(sqlite_take(db, SLICE("test"), slice_of(sql), &s), ERR_OK);
	if (s != NULL && sqlite_step(s, &row) == ERR_OK && row) {
		cell = sqlite_cell(s, 0);
		answer = cell.integer;
		(void)snprintf(text, 256, "%.*s", (int)cell.bytes.len,
		    cell.bytes.len == 0 ? "" : cell.bytes.ptr);
	}
	sqlite_give(&s);
	sqlite_close(&db);
	return answer;
}

static inline int64_t
house_ask(const struct write_house *h, const char *sql)
{
	char text[256];

	return house_cell(h, sql, text);
}

static inline bool
house_says(const struct write_house *h, const char *sql, const char *want)
{
	char text[256];

	(void)house_cell(h, sql, text);
	if (strcmp(text, want) != 0)
		(void)printf("%s\n  gives %s\n  wants %s\n", sql, text, want);
	return strcmp(text, want) == 0;
}

static inline void
house_files(struct write_house *h)
{
	house_file(h, "create.sql",
	    "-- POST /t/create\n-- body payload: text\n-- body note: text, optional\n"
	    "-- invalidates: things\n"
	    "INSERT INTO things (tenant, id, payload, note, event_id, now, accepted_at) VALUES\n"
	    " (:tenant, :idempotency_key, :payload, :note, :event_id, :now, :accepted_at)\n");
	house_file(h, "count.sql",
	    "-- GET /t/count\n-- cache: 1h\n-- tags: things\nSELECT count(*) AS n FROM things\n");
	house_file(h, "clear.sql",
	    "-- POST /t/clear\n-- body payload: text\nDELETE FROM things WHERE payload = "
	    ":payload\n");
	house_file(h, "later.sql",
	    "-- POST /t/later\n-- body payload: text\nINSERT INTO later (payload) VALUES "
	    "(:payload)\n");
	house_file(h, "slow.sql",
	    "-- POST /t/slow\n-- body payload: text\n-- timeout: 10ms\n"
	    "INSERT INTO things (tenant, id, payload) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
	    " SELECT i + 1 FROM n) SELECT :tenant, count(*), :payload FROM n\n");
}

/* All but the database. */
static inline void
write_house_lay(struct write_house *h, bool postgresql)
{
	*h = (struct write_house){ .postgresql = postgresql };
	spool_house_make(&h->s, 64 << 20);
	(void)snprintf(h->db, sizeof h->db, "%s/weir.db", h->s.dir);
	(void)snprintf(h->url, sizeof h->url, "sqlite:%s", h->db);
	fault_init(&h->faults);
	house_files(h);
	house_load(h);
	h->shared = mmap(
	    NULL, sizeof *h->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_NOT_EQUAL_FATAL((void *)h->shared, MAP_FAILED);
	h->o.database.url = h->url;
	h->o.key_ttl_ms = 1000;
	h->o.batch_max = 1000;
	h->o.shared = h->shared;
}

static inline void
write_house_make(struct write_house *h)
{
	write_house_lay(h, false);
	CU_ASSERT_EQUAL_FATAL(
	    house_run(h,
		"CREATE TABLE things (tenant TEXT, id TEXT, payload TEXT CHECK (payload <> 'bad'),"
		" note TEXT, event_id TEXT, now TEXT, accepted_at TEXT)"),
	    ERR_OK);
}

static inline void
write_house_free(struct write_house *h)
{
	(void)munmap(h->shared, sizeof *h->shared);
	catalog_release(&h->catalog);
	fault_free(&h->faults);
	spool_house_free(&h->s);
}

/* Makes an event as the spool would give it, with one parameter `payload`. */
static inline struct event *
house_event(struct spool_write *w, const char *tenant, const char *key, const char *payload,
    int64_t accepted_us)
{
	spool_write_make(w, "create", tenant, key, slice_of(payload), accepted_us);
	w->ev.record = w->item.record;
	return &w->ev;
}

#endif
