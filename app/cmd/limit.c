/*
 * weir limit: which limits apply to a client of an endpoint, what is left of each, and how exact that is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/json_write.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "handlers/handlers.h"
#include "http/address.h"
#include "http/endpoint.h"
#include "runtime/runtime.h"
#include "service/catalog.h"
#include "service/shards.h"

enum { OPTION_IP, OPTION_TENANT, OPTION_JSON };

enum { OUTPUT_BYTES_MAX = 1 << 16, ARENA_BYTES = 4096 };

struct explaining {
	const struct command_line *line;
	const struct config *c;
	struct runtime rt;
	struct quota_caller who;
	struct strbuf out;
	bool json;
};

static const char *
word_of(const struct limit_rule *r)
{
	return r->algorithm == LIMIT_SLIDING_WINDOW ? "sliding-window" : "token-bucket";
}

static int64_t
ms_of(int64_t ns)
{
	return ns / 1000000;
}

static bool
asked(const struct quota_explained *q)
{
	return q->shared && q->fleet.asked == ERR_OK;
}

/* What Redis says counts for all hosts, and what is leased here comes on top. */
static uint64_t
left_of(const struct quota_explained *q)
{
	if (asked(q))
		return q->fleet.remaining + q->fleet.leased;
	return q->shared ? q->fleet.share.remaining : q->here.remaining;
}

static void
json_fleet(struct explaining *e, const struct quota_explained *q)
{
	const struct fleet_view *f = &q->fleet;
	struct strbuf *b = &e->out;

	json_write_open(b, "redis", '{');
	json_write_cstr(b, "shard", shards_url(e->rt.shards, f->shard));
	json_write_bool(b, "answers", f->asked == ERR_OK);
	if (f->asked == ERR_OK) {
		json_write_u64(b, "remaining", f->remaining);
		json_write_i64(b, "resetMs", f->reset_us / 1000);
		json_write_i64(b, "retryAfterMs", f->retry_us / 1000);
	}
	strbuf_add_char(b, '}');
	json_write_open(b, "lease", '{');
	json_write_u64(b, "left", f->leased);
	json_write_i64(b, "forMs", f->leased_ms);
	json_write_u64(b, "max", f->lease_max);
	strbuf_add_char(b, '}');
	json_write_i64(b, "refusedForMs", f->refused_ms);
	json_write_u64(b, "hosts", f->hosts);
	json_write_u64(b, "shareRemaining", f->share.remaining);
}

static void
json_rule(struct explaining *e, const struct limit_rule *r, const struct quota_explained *q)
{
	struct strbuf *b = &e->out;

	json_write_open(b, NULL, '{');
	json_write_text(b, "name", r->name);
	json_write_u64(b, "quota", r->quota);
	json_write_i64(b, "windowMs", r->window_ms);
	json_write_u64(b, "burst", r->burst);
	json_write_cstr(b, "algorithm", word_of(r));
	json_write_bool(b, "observe", r->observe);
	json_write_text(b, q->by_tenant ? "tenant" : "ip", q->name);
	json_write_u64(b, "remaining", left_of(q));
	json_write_u64(b, "error", q->error);
	if (q->shared)
		json_fleet(e, q);
	strbuf_add_char(b, '}');
}

static void
text_error(struct explaining *e, const struct limit_rule *r, const struct quota_explained *q)
{
	if (q->error == 0) {
		strbuf_add_cstr(&e->out, "    exact: each request takes its token from Redis\n");
		return;
	}
	strbuf_addf(&e->out,
	    "    within %" PRIu64 " in any window: %" PRIu64 " hosts lease up to %" PRIu64
	    " each; %s\n",
	    q->error, q->fleet.hosts, q->fleet.lease_max,
	    r->algorithm == LIMIT_SLIDING_WINDOW ? "what they do not use is lost with its window"
						 : "in total never more than burst + rate x time");
}

static void
text_fleet(struct explaining *e, const struct limit_rule *r, const struct quota_explained *q)
{
	const struct fleet_view *f = &q->fleet;
	const char *url = shards_url(e->rt.shards, f->shard);

	if (f->asked == ERR_OK)
		strbuf_addf(&e->out,
		    "    redis-%zu (%s): %" PRIu64 " left, whole again in %" PRId64 " ms\n",
		    f->shard + 1, url, f->remaining, f->reset_us / 1000);
	else
		strbuf_addf(&e->out,
		    "    redis-%zu (%s): does not answer (%s); this host's share of %" PRIu64
		    " hosts: %" PRIu64 " left\n",
		    f->shard + 1, url, err_name(f->asked), f->hosts, f->share.remaining);
	if (f->leased > 0)
		strbuf_addf(&e->out, "    leased by this host: %" PRIu64 ", for %" PRId64 " ms\n",
		    f->leased, f->leased_ms);
	if (f->refused_ms > 0)
		strbuf_addf(&e->out,
		    "    over the limit: refused here for %" PRId64 " ms without asking Redis\n",
		    f->refused_ms);
	text_error(e, r, q);
}

static void
text_rule(struct explaining *e, const struct limit_rule *r, const struct quota_explained *q)
{
	strbuf_addf(&e->out, "%.*s: %" PRIu64 " in %" PRId64 " ms, %s", (int)r->name.len,
	    r->name.ptr, r->quota, r->window_ms, word_of(r));
	if (r->algorithm == LIMIT_TOKEN_BUCKET)
		strbuf_addf(&e->out, " of %" PRIu64, r->burst);
	strbuf_addf(&e->out, ", for %s %.*s%s\n", q->by_tenant ? "tenant" : "address",
	    (int)q->name.len, q->name.ptr, r->observe ? ", observed only" : "");
	if (q->shared) {
		text_fleet(e, r, q);
		return;
	}
	strbuf_addf(&e->out, "    %" PRIu64 " left, whole again in %" PRId64 " ms; exact\n",
	    q->here.remaining, ms_of(q->here.reset_ns));
}

static void
explain(struct explaining *e, const struct endpoint *endpoint)
{
	const int64_t now_ns = clock_mono_ns();
	struct quota_explained q;

	if (e->json)
		strbuf_add_char(&e->out, '[');
	for (size_t i = 0; i < endpoint->limit_count; i++) {
		quota_explain(&e->rt.quota, &endpoint->limits[i], &e->who, now_ns, &q);
		(e->json ? json_rule : text_rule)(e, &endpoint->limits[i], &q);
	}
	if (e->json)
		strbuf_add_cstr(&e->out, "]\n");
	else if (endpoint->limit_count == 0)
		strbuf_add_cstr(&e->out, "no limits\n");
}

static enum exit_code
unknown_endpoint(const struct explaining *e)
{
	(void)fprintf(stderr,
	    "weir limit: there is no endpoint %s (its name is that of its file)\n",
	    e->line->operands[1]);
	return EXIT_CODE_FAILED;
}

/* CLIENT is an address when it looks like one, else a tenant. */
static void
read_client(struct explaining *e, struct arena *a)
{
	const struct slice client = slice_of(e->line->operands[2]);
	const struct slice address = address_client(client, (struct slice){ 0 }, NULL, 0, a);
	const struct command_given *ip = &e->line->given[OPTION_IP];
	const bool is_address =
	    e->line->given[OPTION_TENANT].count == 0 && !slice_eq_cstr(address, "unknown");

	e->who.ip = is_address ? address : SLICE("unknown");
	if (ip->count > 0)
		e->who.ip =
		    address_client(slice_of(ip->values[0]), (struct slice){ 0 }, NULL, 0, a);
	e->who.client = is_address ? e->who.ip : client;
	if (!is_address)
		e->who.tenant = client;
}

static enum exit_code
find_and_explain(struct explaining *e)
{
	const struct endpoint *endpoint =
	    catalog_find(e->rt.catalog, slice_of(e->line->operands[1]));
	enum exit_code rc;
	struct arena a;

	if (endpoint == NULL)
		return unknown_endpoint(e);
	arena_init(&a, ARENA_BYTES);
	e->out = STRBUF_INIT(OUTPUT_BYTES_MAX);
	read_client(e, &a);
	explain(e, endpoint);
	rc = command_print(&e->out);
	strbuf_free(&e->out);
	arena_free(&a);
	return rc;
}

static enum exit_code
join_and_explain(struct explaining *e)
{
	const unsigned needs = RUNTIME_SEGMENT | RUNTIME_JOIN | RUNTIME_CATALOG | RUNTIME_REDIS;
	struct fault_list faults;
	enum exit_code code;
	enum err rc;

	fault_init(&faults);
	rc = runtime_open(e->c, &handlers, needs, 0, &faults, &e->rt);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND)
		return begin_failed(rc, &faults);
	fault_free(&faults);
	if (rc == ERR_NOT_FOUND)
		return begin_nothing_runs(e->c);
	code = find_and_explain(e);
	runtime_close(&e->rt);
	return code;
}

static enum exit_code
run(const struct command_line *line)
{
	struct explaining e = { .line = line, .json = line->given[OPTION_JSON].count > 0 };
	struct config *c = NULL;
	enum exit_code rc;

	if (strcmp(line->operands[0], "explain") != 0)
		return command_usage_error(
		    line->command, "%s: expected explain ENDPOINT CLIENT", line->operands[0]);
	rc = begin_command(line, NULL, 0, &c);
	e.c = c;
	if (rc == EXIT_CODE_DONE)
		rc = join_and_explain(&e);
	config_free(&c);
	return rc;
}

const struct command command_limit = {
	.name = "limit",
	.operands = "explain ENDPOINT CLIENT",
	.summary = "Tells which limits apply to a client, what is left, and the error bound",
	.help = "ENDPOINT is the name of an endpoint (of its file, without .sql); CLIENT is an address or a\n"
		"tenant.  Nothing is taken.\n",
	.options = {
		[OPTION_IP] = { "--ip", "ADDRESS", "the tenant's address, for limits by ip", false },
		[OPTION_TENANT] = { "--tenant", NULL, "CLIENT is a tenant, whatever it looks like", false },
		[OPTION_JSON] = { "--json", NULL, "as JSON", false },
	},
	.operands_min = 3,
	.operands_max = 3,
	.run = run,
};
