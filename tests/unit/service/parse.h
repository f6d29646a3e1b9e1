#ifndef TESTS_UNIT_SERVICE_PARSE_H
#define TESTS_UNIT_SERVICE_PARSE_H

#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "service/catalog.h"
#include "service/front_matter.h"
#include "tests/support/unit.h"

/*
 * Parsing endpoint files in tests: the file is a literal, and what is told of it is one text.
 */
static const struct catalog_options settings = {
	.timeout_ms = 3000,
	.max_body_bytes = 1 << 20,
	.limit_quota = 100,
	.limit_window_ms = 1000,
};

struct parsed {
	struct arena arena;
	struct fault_list faults;
	struct endpoint e;
	enum err rc;
};

static inline struct parsed
parse_named(const char *file, struct slice text)
{
	struct parsed p;

	arena_init(&p.arena, 4 << 20);
	fault_init(&p.faults);
	p.rc = front_matter_parse(text, file, &settings, &p.arena, &p.e, &p.faults);
	return p;
}

static inline struct parsed
parse(const char *text)
{
	return parse_named("dir/thing.sql", slice_of(text));
}

static inline void
parsed_free(struct parsed *p)
{
	arena_free(&p->arena);
	fault_free(&p->faults);
}

/* All faults and warnings, one a line, as "LINE: text". */
static inline const char *
told(struct parsed *p)
{
	struct strbuf b = STRBUF_INIT(1 << 20);
	const char *text;

	for (size_t i = 0; i < p->faults.count; i++)
		strbuf_addf(&b, "%s%u: %s", i == 0 ? "" : "\n", p->faults.items[i].line,
		    p->faults.items[i].text);
	text = arena_copy(&p->arena, strbuf_slice(&b));
	strbuf_free(&b);
	return text;
}

static inline void
refuses(const char *text, const char *want)
{
	struct parsed p = parse(text);

	if (strcmp(told(&p), want) != 0)
		(void)printf("%s\n  gives %s\n  wants %s\n", text, told(&p), want);
	CU_ASSERT_STRING_EQUAL(told(&p), want);
	CU_ASSERT_EQUAL(p.rc, ERR_INVALID);
	parsed_free(&p);
}

/* A GET with ${line} as its second line. */
static inline void
refuses_line(const char *line, const char *want)
{
	char text[512], whole[512];

	(void)snprintf(text, sizeof text, "-- GET /t\n-- %s\nSELECT 1 AS n\n", line);
	(void)snprintf(whole, sizeof whole, "2: %s", want);
	refuses(text, whole);
}

static inline struct parsed
takes(const char *text)
{
	struct parsed p = parse(text);

	if (p.rc != ERR_OK || p.faults.count != 0)
		(void)printf("%s\n  gives %s\n", text, told(&p));
	CU_ASSERT_EQUAL(p.rc, ERR_OK);
	CU_ASSERT_EQUAL(p.faults.count, 0);
	return p;
}

static inline void
is(struct slice got, const char *want)
{
	if (!slice_eq_cstr(got, want))
		(void)printf(
		    "got %.*s, want %s\n", (int)got.len, got.ptr == NULL ? "" : got.ptr, want);
	CU_ASSERT_TRUE(got.ptr != NULL && slice_eq_cstr(got, want));
}

#endif
