/*
 * The exchange's own life: made, made ready for the next request, freed.
 */
#include "pipeline/exchange.h"

#include <string.h>

#include "pipeline/pipeline.h"
#include "pipeline/step.h"
#include "service/catalog.h"

void
exchange_init(struct exchange *x, const struct pipeline_env *env)
{
	memset(x, 0, sizeof *x);
	x->env = env;
	arena_init(&x->arena, env->arena_max_bytes);
	x->spans.arena = &x->arena;
}

void
exchange_reset(struct exchange *x)
{
	const struct pipeline_env *env = x->env;
	struct arena arena;

	strbuf_free(&x->call.block);
	catalog_release(&x->catalog);
	arena_reset(&x->arena);
	arena = x->arena;
	memset(x, 0, sizeof *x);
	x->env = env;
	x->arena = arena;
	x->spans.arena = &x->arena;
}

void
exchange_clear(struct exchange *x)
{
	strbuf_free(&x->call.block);
	catalog_release(&x->catalog);
	arena_free(&x->arena);
}

bool
exchange_copy_values(struct exchange *to, const struct exchange *from)
{
	const size_t n = from->endpoint->param_count;

	to->values = arena_alloc(&to->arena, (n + 1) * sizeof *to->values);
	for (size_t i = 0; to->values != NULL && i < n; i++) {
		to->values[i] = from->values[i];
		to->values[i].text = arena_slice(&to->arena, from->values[i].text);
	}
	to->tenant = arena_slice(&to->arena, from->tenant);
	return !to->arena.overflowed;
}
