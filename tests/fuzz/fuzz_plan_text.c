/* Goal: no plan that a server sends crashes who logs it, and what is logged has no literal and is one line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/plan_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Inside of the JSON's texts a quote only ever opens '?'. */
static bool
is_redacted(struct slice out)
{
	bool inside = false;

	for (size_t i = 0; i < out.len; i++) {
		if (out.ptr[i] == '"')
			inside = !inside;
		else if (inside && out.ptr[i] == '\\')
			i++;
		else if (inside && out.ptr[i] == '\'') {
			if (out.len - i < 3 || memcmp(out.ptr + i, "'?'", 3) != 0)
				return false;
			i += 2;
		}
	}
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strbuf once = STRBUF_INIT(4 * size + 16), twice = STRBUF_INIT(16 * size + 64);

	plan_text_add(&once, (struct slice){ (const char *)data, size });
	if (once.failed || !is_redacted(strbuf_slice(&once)))
		abort();
	plan_text_add(&twice, strbuf_slice(&once));
	if (twice.len > once.len) /* nothing is left to be taken out */
		abort();
	strbuf_free(&once);
	strbuf_free(&twice);
	return 0;
}
