/*
 * All endpoints of one moment.
 *
 * A file with faults still takes part in what is found between files, so that
 * one run shows everything.
 */
#include "service/catalog.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fault.h"
#include "base/hash.h"
#include "http/router.h"
#include "service/front_matter.h"
#include "service/handler_files.h"
#include "service/store.h"

enum { MAX_BYTES = 256 << 20 };

static const char variant_suffix[] = ".postgresql.sql";

/* Where a holder of a const catalog finds what is not const. */
struct shown {
	struct catalog catalog; /* first: the two have one address */
	struct own *own;
};

struct own {
	struct shown shown;
	_Atomic unsigned holders;
	struct arena arena;
	struct router *router;
	const struct endpoint **list;
	size_t count, cap;
};

/* One load: what is being made, and the files for the other database. */
struct load {
	const struct catalog_options *o;
	struct fault_list *faults;
	struct own *own;
	struct endpoint *after_writes; /* the built-in one that pages may use when they may write */
	struct endpoint **variants;    /* NAME.postgresql.sql */
	size_t variant_count, variant_cap;
	bool full; /* without memory */
};

static struct own *
own_new(void)
{
	struct own *own = calloc(1, sizeof *own);

	if (own == NULL)
		return NULL;
	arena_init(&own->arena, MAX_BYTES);
	atomic_init(&own->holders, 1);
	own->shown.own = own;
	return own;
}

static void
own_free(struct own *own)
{
	router_free(&own->router);
	arena_free(&own->arena);
	free(own->list);
	free(own);
}

static bool
grow(void **items, size_t count, size_t *cap, size_t bytes)
{
	const size_t wanted = *cap == 0 ? 16 : *cap * 2;
	void *wider;

	if (count < *cap)
		return true;
	wider = reallocarray(*items, wanted, bytes);
	if (wider == NULL)
		return false;
	*items = wider;
	*cap = wanted;
	return true;
}

static void
add_endpoint(struct load *l, struct endpoint *e)
{
	struct own *own = l->own;
	void *items = own->list;

	if (!grow(&items, own->count, &own->cap, sizeof *own->list)) {
		l->full = true;
		return;
	}
	own->list = items;
	e->index = (int)own->count;
	own->list[own->count++] = e;
}

static void
add_variant(struct load *l, struct endpoint *e)
{
	void *items = l->variants;

	if (!grow(&items, l->variant_count, &l->variant_cap, sizeof *l->variants)) {
		l->full = true;
		return;
	}
	l->variants = items;
	l->variants[l->variant_count++] = e;
}

/* A built-in endpoint with what a file's would have from the settings. */
static void
add_built_in(struct load *l, const struct endpoint *model)
{
	struct endpoint *e = arena_alloc(&l->own->arena, sizeof *e);

	if (e == NULL) {
		l->full = true;
		return;
	}
	*e = *model;
	e->name_hash = hash64(0, e->name.ptr, e->name.len);
	if (e->timeout_ms == 0)
		e->timeout_ms = l->o->timeout_ms;
	if (e->max_body_bytes == 0)
		e->max_body_bytes = l->o->max_body_bytes;
	if (e->max_rows == 0)
		e->max_rows = FRONT_MATTER_DEFAULT_ROWS;
	if (e->limit_count == 0)
		front_matter_default_limit(l->o, &l->own->arena, e);
	if (e->cors_of_writes)
		l->after_writes = e;
	add_endpoint(l, e);
}

static bool
has_suffix(const char *name, const char *suffix)
{
	const size_t n = strlen(name), m = strlen(suffix);

	return n > m && strcmp(name + n - m, suffix) == 0;
}

/* Whether NAME.postgresql.sql stands beside ${path}, which is NAME.sql. */
static bool
has_variant(struct load *l, const char *path)
{
	const int stem = (int)(strlen(path) - strlen(".sql"));
	const char *variant = arena_printf(&l->own->arena, "%.*s%s", stem, path, variant_suffix);

	for (size_t i = 0; variant != NULL && i < l->o->files->count; i++)
		if (strcmp(l->o->files->list[i].path, variant) == 0)
			return true;
	return false;
}

static void
parse_file(struct load *l, const char *path, struct slice text)
{
	const bool is_variant = has_suffix(path, variant_suffix);
	struct endpoint *e = arena_alloc(&l->own->arena, sizeof *e);
	struct catalog_options o = *l->o;

	/* With a file of its own for PostgreSQL, the other one is SQLite's wherever we run. */
	o.postgresql = o.postgresql && (is_variant || !has_variant(l, path));
	if (e == NULL ||
	    front_matter_parse(text, path, &o, &l->own->arena, e, l->faults) == ERR_NOMEM) {
		l->full = true;
		return;
	}
	if (is_variant) {
		add_variant(l, e);
		return;
	}
	if (e->route.ptr != NULL && e->sql.ptr != NULL && !e->postgresql)
		store_check(NULL, e, l->faults);
	add_endpoint(l, e);
}

static const char *
place_of(const struct endpoint *e)
{
	return e->file == NULL ? "the built-in endpoint" : e->file;
}

static void
check_names(struct load *l)
{
	const struct own *own = l->own;

	for (size_t i = 0; i < own->count; i++) {
		const struct endpoint *e = own->list[i];

		for (size_t k = 0; k < i; k++)
			if (own->list[k]->name_hash == e->name_hash &&
			    slice_eq(own->list[k]->name, e->name))
				fault_add(l->faults, e->file, 1,
				    "name \"%.*s\" is that of %s too, expected another file name",
				    (int)e->name.len, e->name.ptr, place_of(own->list[k]));
	}
}

static bool
params_are_equal(const struct param *a, const struct param *b)
{
	const bool plain = a->type == b->type && a->place == b->place &&
			   a->optional == b->optional && a->has_min == b->has_min &&
			   a->has_max == b->has_max && a->has_length == b->has_length &&
			   a->has_default == b->has_default && a->length == b->length &&
			   a->choice_count == b->choice_count;

	if (!plain || !slice_eq(a->name, b->name) || a->min_int != b->min_int ||
	    a->max_int != b->max_int || a->min < b->min || a->min > b->min || a->max < b->max ||
	    a->max > b->max || !slice_eq(a->fallback.text, b->fallback.text))
		return false;
	for (size_t i = 0; i < a->choice_count; i++)
		if (!slice_eq(a->choices[i], b->choices[i]))
			return false;
	return true;
}

static bool
all_params_are_equal(const struct endpoint *a, const struct endpoint *b)
{
	for (size_t i = 0; i < a->param_count && i < b->param_count; i++)
		if (!params_are_equal(&a->params[i], &b->params[i]))
			return false;
	return a->param_count == b->param_count;
}

static bool
all_columns_are_equal(const struct endpoint *a, const struct endpoint *b)
{
	for (size_t i = 0; i < a->column_count && i < b->column_count; i++)
		if (a->columns[i].type != b->columns[i].type ||
		    !slice_eq(a->columns[i].name, b->columns[i].name))
			return false;
	return a->column_count == b->column_count;
}

static void
compare_variant(struct load *l, const struct endpoint *base, const struct endpoint *v)
{
	if (base->route.ptr == NULL || v->route.ptr == NULL)
		return; /* said already */
	if (base->method != v->method || !slice_eq(base->route, v->route))
		fault_add(
		    l->faults, v->file, 1, "route differs from %s, expected the same", base->file);
	if (!all_params_are_equal(base, v))
		fault_add(l->faults, v->file, 1, "parameters differ from %s, expected the same",
		    base->file);
	if (!all_columns_are_equal(base, v))
		fault_add(
		    l->faults, v->file, 1, "columns differ from %s, expected the same", base->file);
}

/* Compares ${v} with the file that it stands beside, and where PostgreSQL is in force puts it in its place. */
static void
place_variant(struct load *l, struct endpoint *v)
{
	const struct endpoint **place = NULL;

	for (size_t i = 0; i < l->own->count; i++)
		if (l->own->list[i]->file != NULL && slice_eq(l->own->list[i]->name, v->name))
			place = &l->own->list[i];
	if (place == NULL) {
		fault_add(l->faults, v->file, 0, "no %.*s.sql, expected it beside this file",
		    (int)v->name.len, v->name.ptr);
		return;
	}
	compare_variant(l, *place, v);
	if (!l->o->postgresql)
		return;
	v->twin = *place;
	v->index = v->twin->index;
	*place = v;
}

/* Takes what cannot be routed out of ${routable}; returns how many stay. */
static size_t
without(const struct endpoint **routable, size_t count, const struct endpoint *e)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (routable[i] != e)
			routable[n++] = routable[i];
	return n;
}

static void
add_collision(struct load *l, const struct endpoint *first, const struct endpoint *second)
{
	const char *method = http_method_name(second->method);
	const int len = (int)second->route.len;

	if (first->file == NULL)
		fault_add(l->faults, second->file, 1,
		    "route %s %.*s is that of the built-in endpoint %.*s, expected another", method,
		    len, second->route.ptr, (int)first->name.len, first->name.ptr);
	else
		fault_add(l->faults, second->file, 1,
		    "route %s %.*s is that of %s:1 too, expected another", method, len,
		    second->route.ptr, first->file);
}

/* The router names one collision at a time: the second of the two is taken out, and it is asked again. */
static void
route(struct load *l)
{
	struct own *own = l->own;
	const struct endpoint **routable = calloc(own->count + 1, sizeof *routable);
	const struct endpoint *first, *second;
	size_t n = 0;
	enum err rc = ERR_NOMEM;

	for (size_t i = 0; routable != NULL && i < own->count; i++)
		if (own->list[i]->route.ptr != NULL)
			routable[n++] = own->list[i];
	while (routable != NULL) {
		rc = router_build(routable, n, &own->router, &first, &second);
		if (rc != ERR_CONFLICT)
			break;
		add_collision(l, first, second);
		n = without(routable, n, second);
	}
	l->full = l->full || rc != ERR_OK;
	free(routable);
}

static void
load_all(struct load *l)
{
	for (size_t i = 0; i < l->o->built_in_count; i++)
		add_built_in(l, l->o->built_in[i]);
	for (size_t i = 0; i < l->o->files->count; i++)
		parse_file(l, l->o->files->list[i].path, l->o->files->list[i].text);
	check_names(l);
	for (size_t i = 0; i < l->variant_count; i++)
		place_variant(l, l->variants[i]);
	if (l->after_writes != NULL)
		l->after_writes->cors =
		    front_matter_cors_of_writes(l->own->list, l->own->count, &l->own->arena);
	route(l);
	l->full = l->full || l->own->arena.overflowed;
}

enum err
catalog_load(const struct catalog_options *o, struct fault_list *faults, const struct catalog **out)
{
	const size_t errors_before = faults->errors;
	struct load l = { .o = o, .faults = faults, .own = own_new() };

	if (l.own == NULL)
		return ERR_NOMEM;
	load_all(&l);
	free(l.variants);
	if (l.full)
		fault_add(
		    faults, "WEIR_HANDLERS", 0, "no memory for the endpoint files, expected fewer");
	if (faults->errors > errors_before) {
		own_free(l.own);
		return l.full ? ERR_NOMEM : ERR_INVALID;
	}
	l.own->shown.catalog = (struct catalog){
		.endpoints = l.own->list, .count = l.own->count, .router = l.own->router
	};
	*out = &l.own->shown.catalog;
	return ERR_OK;
}

static struct own *
own_of(const struct catalog *c)
{
	return ((const struct shown *)(const void *)c)->own;
}

const struct catalog *
catalog_hold(const struct catalog *c)
{
	(void)atomic_fetch_add_explicit(&own_of(c)->holders, 1, memory_order_relaxed);
	return c;
}

void
catalog_release(const struct catalog **cp)
{
	const struct catalog *c = *cp;

	if (c == NULL)
		return;
	*cp = NULL;
	/* Whoever is last must see all that the others read before they let go. */
	if (atomic_fetch_sub_explicit(&own_of(c)->holders, 1, memory_order_acq_rel) == 1)
		own_free(own_of(c));
}

const struct endpoint *
catalog_find(const struct catalog *c, struct slice name)
{
	const uint64_t hash = hash64(0, name.ptr, name.len);

	for (size_t i = 0; i < c->count; i++)
		if (c->endpoints[i]->name_hash == hash && slice_eq(c->endpoints[i]->name, name))
			return c->endpoints[i];
	return NULL;
}
