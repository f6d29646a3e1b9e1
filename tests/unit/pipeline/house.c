/*
 * See house.h.
 */
#include "tests/unit/pipeline/house.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "policy/limiter.h"
#include "policy/positions.h"
#include "service/catalog.h"
#include "service/handler_files.h"
#include "telemetry/endpoint_stats.h"
#include "telemetry/limit_stats.h"
#include "telemetry/scoreboard.h"
#include "tests/support/unit.h"

enum { CACHE_BYTES = 8 << 20, SLOTS = 1024 };

struct fake_read fake_read;

static enum handler_result
fake_read_run(struct handler_call *call)
{
	struct slice column = SLICE("v");
	struct copy_builder b;

	fake_read.queries++;
	if (fake_read.meanwhile != NULL)
		fake_read.meanwhile(fake_read.ctx);
	if (fake_read.json == NULL) {
		call->problem = PROBLEM(fake_read.status, "as ordered");
		call->failure = fake_read.failure;
		return HANDLER_PROBLEM;
	}
	copy_begin(&b, &column, 1, true, 1 << 20);
	copy_cell(&b);
	strbuf_add_cstr(&b.json, fake_read.json);
	CU_ASSERT_EQUAL_FATAL(copy_end(&b, &call->block), ERR_OK);
	return HANDLER_BLOCK;
}

static enum handler_result
fake_write_run(struct handler_call *call)
{
	if (!call->resumed)
		return HANDLER_PARKED;
	call->response->status = 202;
	return HANDLER_RESPONSE;
}

static const struct handler fake_reader = {
	.name = "fake_read", .lane = HANDLER_BLOCKING, .run = fake_read_run
};
static const struct handler fake_writer = {
	.name = "fake_write", .lane = HANDLER_INLINE, .run = fake_write_run
};

static void
write_file(const char *dir, size_t i, const char *text)
{
	char path[512];
	FILE *f;

	(void)snprintf(path, sizeof path, "%s/e%zu.sql", dir, i);
	f = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void)fputs(text, f);
	(void)fclose(f);
}

static void
load_catalog(struct house *h, const char *const *files, size_t count)
{
	static unsigned houses;
	char dir[256];
	struct fault_list faults;
	struct handler_files bytes;
	struct catalog_options o = { .files = &bytes,
		.timeout_ms = 1000,
		.max_body_bytes = 1000,
		.limit_quota = 1000000,
		.limit_window_ms = 1000,
		.read_handler = &fake_reader,
		.write_handler = &fake_writer };

	(void)snprintf(dir, sizeof dir, "%s/house%u", unit_dir(), houses++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
	for (size_t i = 0; i < count; i++)
		write_file(dir, i, files[i]);
	fault_init(&faults);
	if (handler_files_read(dir, &faults, &bytes) != ERR_OK ||
	    catalog_load(&o, &faults, &h->catalog) != ERR_OK) {
		fault_print(&faults, STDERR_FILENO);
		CU_FAIL_FATAL("the house's endpoint files are wrong");
	}
	handler_files_free(&bytes);
	fault_free(&faults);
}

static void *
zeroed(struct house *h, int i, size_t bytes)
{
	const size_t whole = (bytes + 63) / 64 * 64;

	h->memory[i] = aligned_alloc(64, whole);
	CU_ASSERT_PTR_NOT_NULL_FATAL(h->memory[i]);
	return memset(h->memory[i], 0, whole);
}

static void
ring(void *ctx, unsigned member)
{
	struct house *h = ctx;

	(void)member;
	h->rung++;
}

static void
nobody_resumes(struct exchange *x)
{
	(void)x;
}

void
house_open(struct house *h, const char *const *files, size_t count)
{
	unsigned member = 0;

	*h = (struct house){ .rung = 0 };
	fake_read = (struct fake_read){ .json = "1" };
	load_catalog(h, files, count);
	scoreboard_init(zeroed(h, 0, scoreboard_size()));
	limiter_init(zeroed(h, 1, limiter_size(SLOTS)), SLOTS);
	l1_init(zeroed(h, 2, l1_size(CACHE_BYTES)), CACHE_BYTES, 7);
	flight_init(zeroed(h, 3, flight_size(SLOTS)), SLOTS);
	positions_init(zeroed(h, 4, positions_size()));
	limit_stats_init(zeroed(h, 6, limit_stats_size()));
	endpoint_stats_init(zeroed(h, 5, endpoint_stats_size()), clock_mono_ms());
	CU_ASSERT_EQUAL_FATAL(
	    scoreboard_join(h->memory[0], MEMBER_WORKER, clock_mono_ms(), &member), ERR_OK);
	h->cache = (struct cache){ .l1 = h->memory[2],
		.flights = h->memory[3],
		.positions = h->memory[4],
		.seed = 7,
		.member = member,
		.ring = ring,
		.ctx = h };
	h->quota = (struct quota){ .limiter = h->memory[1], .seed = 7 };
	h->env = (struct pipeline_env){ .catalog = h->catalog,
		.cache = &h->cache,
		.quota = &h->quota,
		.scoreboard = h->memory[0],
		.endpoints = h->memory[5],
		.limits = h->memory[6],
		.member = member,
		.arena_max_bytes = 4 << 20,
		.max_in_hand = 100,
		.in_hand = &h->in_hand,
		.resume = nobody_resumes };
}

void
house_close(struct house *h)
{
	catalog_release(&h->catalog);
	for (size_t i = 0; i < sizeof h->memory / sizeof *h->memory; i++)
		free(h->memory[i]);
}

static enum err
visit_body(struct exchange *x, char *out, size_t cap, size_t *total_out)
{
	struct visit *v = x->owner;

	v->bodies_read++;
	x->start_ns -= v->body_took_ms * 1000000;
	if (cap > 0 && v->body.len > 0)
		memcpy(out, v->body.ptr, v->body.len < cap ? v->body.len : cap);
	*total_out = v->body.len;
	return v->body_rc;
}

static const struct transport visit_transport = { .body = visit_body };

void
visit_param(struct visit *v, const char *name, const char *value)
{
	size_t i = 0;

	while (v->envp[i] != NULL)
		i++;
	(void)snprintf(v->text[i], sizeof v->text[i], "%s=%s", name, value);
	v->envp[i] = v->text[i];
}

void
visit_begin(struct visit *v, struct house *h, const char *method, const char *uri)
{
	memset(v, 0, sizeof *v);
	exchange_init(&v->x, &h->env);
	v->x.transport = &visit_transport;
	v->x.owner = v;
	v->x.envp = v->envp;
	visit_param(v, "REQUEST_METHOD", method);
	visit_param(v, "REQUEST_URI", uri);
	visit_param(v, "REMOTE_ADDR", "192.0.2.7");
	visit_param(v, "REQUEST_ID", "0123456789abcdef");
}

void
visit_run(struct visit *v)
{
	enum pipeline_where where = PIPELINE_ON_REACTOR;

	for (;;) {
		v->result = pipeline_run(&v->x, where);
		if (v->result == PIPELINE_DONE || v->result == PIPELINE_PARKED)
			return;
		where = v->result == PIPELINE_INLINE ? PIPELINE_ON_REACTOR : PIPELINE_ON_LANE;
	}
}

const char *
visit_header(struct visit *v, const char *name)
{
	static char text[512];
	const struct slice s = response_find(&v->x.response, name);

	(void)snprintf(text, sizeof text, "%.*s", (int)s.len, s.len > 0 ? s.ptr : "");
	return text;
}

void
visit_end(struct visit *v)
{
	exchange_clear(&v->x);
}
