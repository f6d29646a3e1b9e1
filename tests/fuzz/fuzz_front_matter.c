/*
 * Goal: no bytes in an endpoint file crash or hang its parser, and what it takes is whole: every index
 * points into its array, every placeholder has its binding.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/fault.h"
#include "service/catalog.h"
#include "service/front_matter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES = 8 << 20 };

static void
must(bool ok)
{
	if (!ok)
		abort();
}

static void
check_templates(const struct endpoint *e, const struct template *items, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		must(items[i].count > 0);
		for (size_t k = 0; k < items[i].count; k++)
			must(items[i].parts[k].param < (int)e->param_count &&
			     (items[i].parts[k].param >= 0 || items[i].parts[k].literal.len > 0));
	}
}

static void
check_segments(const struct endpoint *e)
{
	for (size_t i = 0; i < e->segment_count; i++) {
		const int param = e->segments[i].param;

		must(param < (int)e->param_count);
		must(param < 0 ? e->segments[i].literal.len > 0
			       : e->params[param].place == PARAM_PATH);
	}
}

static void
check_limits(const struct endpoint *e)
{
	must(e->limit_count > 0 && e->limit_count <= ENDPOINT_MAX_LIMITS);
	for (size_t i = 0; i < e->limit_count; i++)
		must(
		    e->limits[i].quota > 0 && e->limits[i].burst > 0 && e->limits[i].window_ms > 0);
}

static void
check_endpoint(const struct endpoint *e)
{
	must(e->name.len > 0 && e->sql.len > 0 && e->route.len > 0 && *e->route.ptr == '/');
	must(e->param_count <= ENDPOINT_MAX_PARAMS);
	check_segments(e);
	for (size_t i = 0; i < e->bind_count; i++)
		must(
		    e->binds[i].source != BIND_PARAM || (size_t)e->binds[i].param < e->param_count);
	check_templates(e, e->tags, e->tag_count);
	check_templates(e, e->invalidates, e->invalidate_count);
	check_limits(e);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct catalog_options settings = { .timeout_ms = 3000,
		.max_body_bytes = 1 << 20,
		.limit_quota = 100,
		.limit_window_ms = 1000 };
	/* The first byte chooses the dialect. */
	const char *file = size > 0 && *data % 2 == 1 ? "a/thing.postgresql.sql" : "a/thing.sql";
	const struct slice text = { (const char *)data + (size > 0), size - (size > 0) };
	struct fault_list faults;
	struct endpoint e;
	struct arena a;
	enum err rc;

	arena_init(&a, ARENA_BYTES);
	fault_init(&faults);
	rc = front_matter_parse(text, file, &settings, &a, &e, &faults);
	must(rc == ERR_OK || rc == ERR_INVALID || a.overflowed);
	must((rc == ERR_INVALID) == (faults.errors > 0 && rc != ERR_NOMEM));
	if (rc == ERR_OK)
		check_endpoint(&e);
	fault_free(&faults);
	arena_free(&a);
	return 0;
}
