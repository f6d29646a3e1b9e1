/*
 * The exchange's own life: made, made ready for the next request, freed.
 */
#include "pipeline/exchange.h"

#include <string.h>

#include "pipeline/pipeline.h"
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
