/*
 * OTEL_*: the variables of another specification, which says itself what becomes of a bad one (service/otel_settings.h);
 * here they are only found, whoever sets them, and handed on to children.
 */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "runtime/config_source.h"
#include "service/otel_settings.h"

#define PREFIX	    "OTEL_"
#define FILE_SUFFIX "_FILE"

bool
config_is_otel(const char *name)
{
	return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0;
}

/* Our name without the suffix of NAME_FILE; but some names of theirs end like that by themselves. */
static const char *
plain_name(const char *name, struct arena *a)
{
	struct slice s = slice_of(name);
	const size_t n = sizeof FILE_SUFFIX - 1;

	if (otel_is_known(s) || s.len <= n || memcmp(s.ptr + s.len - n, FILE_SUFFIX, n) != 0)
		return name;
	s.len -= n;
	return otel_is_known(s) ? arena_copy(a, s) : name;
}

static bool
is_there(const struct otel_variable *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].name, name) == 0)
			return true;
	return false;
}

enum err
config_otel(const struct config_entries *all, struct arena *a, struct fault_list *faults,
    const struct otel_settings **settings_out, struct otel_variable **variables_out,
    size_t *count_out)
{
	struct otel_settings *settings = arena_alloc(a, sizeof *settings);
	struct otel_variable *list = arena_alloc(a, (all->count + 1) * sizeof *list);
	const struct config_entry *e;
	size_t count = 0;

	if (settings == NULL || list == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < all->count; i++) {
		struct otel_variable *v = &list[count];

		if (!config_is_otel(all->items[i].name))
			continue;
		v->name = plain_name(all->items[i].name, a);
		if (v->name == NULL || is_there(list, count, v->name) ||
		    config_lookup(all, v->name, a, faults, &e, &v->value) != ERR_OK || e == NULL)
			continue; /* had already, said, or empty */
		v->where = config_entry_where(all, e);
		v->line = e->line;
		count++;
	}
	*settings_out = settings;
	*variables_out = list;
	*count_out = count;
	return otel_settings_read(list, count, a, faults, settings);
}
