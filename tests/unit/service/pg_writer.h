#ifndef TESTS_UNIT_SERVICE_PG_WRITER_H
#define TESTS_UNIT_SERVICE_PG_WRITER_H

#include "service/writer.h"
#include "tests/unit/service/pg_house.h"

/*
 * A writer in a PostgreSQL house, and what its tests do with one event.
 */
static const int64_t now_us = 1000000000000000; /* 2001-09-09T01:46:40Z */
static const int64_t ttl_us = 1000000;

static struct pg_house p;
static struct writer *w;
static struct writer_failure why;

static inline void
open_fresh_with(bool through_bouncer, int64_t timeout_ms)
{
	pg_house_make(&p, through_bouncer, timeout_ms);
	CU_ASSERT_EQUAL_FATAL(writer_open(&p.h.o.database, &w, &why), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(writer_migrate(w, &why), ERR_OK);
}

static inline void
open_fresh(void)
{
	open_fresh_with(false, 3000);
}

static inline void
close_all(void)
{
	writer_close(&w);
	pg_house_free(&p);
}

static inline struct writer *
another_writer(void)
{
	struct writer *other = NULL;

	CU_ASSERT_EQUAL_FATAL(writer_open(&p.h.o.database, &other, &why), ERR_OK);
	return other;
}

static inline const struct endpoint *
endpoint(const char *name)
{
	const struct endpoint *e = catalog_find(p.h.catalog, slice_of(name));

	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	return e;
}

static inline bool
says(const char *sql, const char *want)
{
	return pg_house_says(&p, sql, want);
}

static inline enum writer_claim
claim(const struct event *ev, int64_t at_us)
{
	enum writer_claim c = WRITER_CLASH;

	CU_ASSERT_EQUAL(writer_begin(w, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_claim_keys(w, ev, 1, at_us, ttl_us, &c, &why), ERR_OK);
	CU_ASSERT_EQUAL(writer_commit(w, NULL, &why), ERR_OK);
	return c;
}

static inline enum writer_claim
claim_key(
    const char *tenant, const char *key, const char *payload, int64_t accepted_us, int64_t at_us)
{
	struct spool_write sw;
	const enum writer_claim c =
	    claim(house_event(&sw, tenant, key, payload, accepted_us), at_us);

	arena_free(&sw.arena);
	return c;
}

#endif
