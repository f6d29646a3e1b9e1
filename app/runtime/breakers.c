/*
 * How breakers are shown.
 */
#include "runtime/breakers.h"

#include <inttypes.h>

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

		strbuf_add_cstr(b, i == 0 ? "{\"name\":" : ",{\"name\":");
		strbuf_add_json(b, slice_of(all[i].name));
		strbuf_addf(b, ",\"state\":\"%s\",\"forMs\":", breaker_word(v->state, v->force));
		if (v->since_ms == 0)
			strbuf_add_cstr(b, "null");
		else
			strbuf_addf(b, "%" PRId64, now_ms - v->since_ms);
		strbuf_addf(b,
		    ",\"admittedPct\":%u,\"calls\":%" PRIu64 ",\"failures\":%" PRIu64
		    ",\"slow\":%" PRIu64 ",\"opened\":%" PRIu64 "}",
		    v->admitted_pct, v->calls, v->failures, v->slow, v->opened);
	}
	strbuf_add_char(b, ']');
}
