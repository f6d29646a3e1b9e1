#ifndef TESTS_UNIT_SERVICE_PG_HOUSE_H
#define TESTS_UNIT_SERVICE_PG_HOUSE_H

#include "client/pg.h"
#include "service/primary.h"
#include "tests/support/postgres.h"
#include "tests/unit/service/write_house.h"

/*
 * The write house with a real PostgreSQL for its database: emptied when it is made, so one house at a time.
 */
struct pg_house {
	struct write_house h;
	struct primary *primary;
	struct pg *pg; /* for looking and for what others do */
	char url[200];
};

static inline struct pg *
pg_house_connect(void)
{
	const struct pg_address a = { .host = "localhost",
		.numeric = "127.0.0.1",
		.port = postgres_servers().direct,
		.user = "weir",
		.password = "weir-secret",
		.database = "weir" };
	struct pg *pg = NULL;

	CU_ASSERT_EQUAL_FATAL(pg_connect(&a, true, clock_mono_ms() + 20000, &pg, NULL), ERR_OK);
	return pg;
}

/* The first cell, or "" for none, or the SQLSTATE of a failure. */
static inline const char *
pg_house_text(struct pg_house *p, const char *sql)
{
	static char text[1000];
	const struct pg_statement s = { .name = "test", .sql = sql };
	struct pg_result *r = NULL;
	struct slice cell;

	pg_deadline(p->pg, clock_mono_ms() + 20000);
	if (pg_run(p->pg, &s, &r) != ERR_OK) {
		(void)snprintf(text, sizeof text, "%s", pg_last_fault(p->pg)->sqlstate);
		return text;
	}
	cell = pg_rows(r) > 0 ? pg_text(r, 0, 0) : SLICE("");
	(void)snprintf(text, sizeof text, "%.*s", (int)cell.len, cell.ptr);
	pg_result_free(&r);
	return text;
}

static inline bool
pg_house_says(struct pg_house *p, const char *sql, const char *want)
{
	const char *text = pg_house_text(p, sql);

	if (strcmp(text, want) != 0)
		(void)printf("%s\n  gives %s\n  wants %s\n", sql, text, want);
	return strcmp(text, want) == 0;
}

/* ${timeout_ms}: DB_TIMEOUT. */
static inline void
pg_house_make(struct pg_house *p, bool through_bouncer, int64_t timeout_ms)
{
	static const char *const fresh[] = {
		"DROP TABLE IF EXISTS weir_keys, weir_dead_letters, weir_api_keys, things, later",
		"CREATE TABLE things (tenant text, id text, payload text CHECK (payload <> 'bad'),"
		" note text, event_id text, now timestamptz, accepted_at timestamptz)",
	};
	const struct postgres_ports ports = postgres_servers();
	struct primary_options o = { .url = p->url, .timeout_ms = timeout_ms };

	*p = (struct pg_house){ .primary = NULL };
	write_house_lay(&p->h, true);
	(void)snprintf(p->url, sizeof p->url, "postgres://weir:weir-secret@127.0.0.1:%u/weir",
	    through_bouncer ? ports.bouncer : ports.direct);
	CU_ASSERT_EQUAL_FATAL(primary_open(&o, &p->primary), ERR_OK);
	p->h.o.database = (struct writer_options){ .url = p->url, .primary = p->primary };
	p->pg = pg_house_connect();
	for (size_t i = 0; i < sizeof fresh / sizeof *fresh; i++)
		CU_ASSERT_TRUE(pg_house_says(p, fresh[i], ""));
}

static inline void
pg_house_free(struct pg_house *p)
{
	pg_close(&p->pg);
	primary_close(&p->primary);
	write_house_free(&p->h);
}

#endif
