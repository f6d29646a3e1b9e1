/*
 * How breakers are shown.
 */
#include "runtime/breakers.h"

#include <inttypes.h>

#include "base/json_write.h"
#include "base/str.h"
#include "service/guard.h"

void
breakers_text(const struct guard_view *all, size_t count, int64_t now_ms, struct strbuf *b)
{
	strbuf_addf(b, "%-*s %-13s %10s %10s %10s %10s %10s %10s\n", GUARD_NAME_BYTES, "breaker",
	    "state", "for", "admits", "calls", "failures", "slow", "opened");
	for (size_t i = 0; i < count; i++) {
		const struct breaker_view *v = &all[i].breaker;

		strbuf_addf(b, "%-*s %-13s ", GUARD_NAME_BYTES, all[i].name,
		    breaker_word(v->state, v->force));
		if (v->since_ms == 0)
			strbuf_addf(b, "%10s", "ever");
		else
			strbuf_addf(b, "%8" PRId64 " s", (now_ms - v->since_ms) / 1000);
		strbuf_addf(b, " %8u %% %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n",
		    v->admitted_pct, v->calls, v->failures, v->slow, v->opened);
	}
}

void
breakers_json(const struct guard_view *all, size_t count, int64_t now_ms, struct strbuf *b)
{
	strbuf_add_char(b, '[');
	for (size_t i = 0; i < count; i++) {
		const struct breaker_view *v = &all[i].breaker;

		json_write_open(b, NULL, '{');
		json_write_cstr(b, "name", all[i].name);
		json_write_cstr(b, "state", breaker_word(v->state, v->force));
		if (v->since_ms == 0)
			json_write_null(b, "forMs");
		else
			json_write_i64(b, "forMs", now_ms - v->since_ms);
		json_write_u64(b, "admittedPct", v->admitted_pct);
		json_write_u64(b, "calls", v->calls);
		json_write_u64(b, "failures", v->failures);
		json_write_u64(b, "slow", v->slow);
		json_write_u64(b, "opened", v->opened);
		strbuf_add_char(b, '}');
	}
	strbuf_add_char(b, ']');
}
