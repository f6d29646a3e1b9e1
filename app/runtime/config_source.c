/*
 * Where settings come from: command line over environment over `.env`.
 *
 * A name that is misspelt is found here, so that no setting is ever silently ignored.  What values mean is config_value.c's.
 */
#include "runtime/config_source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dotenv.h"
#include "base/fault.h"
#include "runtime/worker_env.h"

enum { FILE_BYTES_MAX = 256 * 1024 };

struct gathering {
	struct config_entries *all;
	struct arena *a;
	struct fault_list *faults;
	unsigned lines_before; /* those of the file that are behind the part being read */
};

static enum err
grow(struct config_entries *all, struct arena *a)
{
	const size_t cap = all->cap == 0 ? 64 : all->cap * 2;
	struct config_entry *items = arena_alloc(a, cap * sizeof *items);

	if (items == NULL)
		return ERR_NOMEM;
	if (all->count > 0)
		memcpy(items, all->items, all->count * sizeof *items);
	all->items = items;
	all->cap = cap;
	return ERR_OK;
}

/* A failure leaves the arena overflowed, which config_load() looks at. */
static void
add(struct gathering *g, struct slice name, struct slice value, enum config_rank rank,
    unsigned line)
{
	struct config_entries *all = g->all;
	const struct config_entry e = { arena_copy(g->a, name), arena_copy(g->a, value), rank,
		line };

	if (e.name == NULL || e.value == NULL)
		return;
	if (all->count == all->cap && grow(all, g->a) != ERR_OK)
		return;
	all->items[all->count++] = e;
}

static void
gather_command_line(struct gathering *g, const struct config_input *in)
{
	for (size_t i = 0; i < in->override_count; i++)
		add(g, slice_of(in->overrides[i].name), slice_of(in->overrides[i].value),
		    CONFIG_FROM_COMMAND_LINE, 0);
}

static void
gather_environment(struct gathering *g, const char *const *environment)
{
	for (; *environment != NULL; environment++) {
		struct slice value = slice_of(*environment);
		const struct slice name = slice_cut(&value, '=');

		if (value.ptr != NULL)
			add(g, name, value, CONFIG_FROM_ENVIRONMENT, 0);
	}
}

static void
add_line(void *ctx, struct slice name, struct slice value, unsigned line)
{
	struct gathering *g = ctx;

	line += g->lines_before;
	for (size_t i = 0; i < g->all->count; i++) {
		const struct config_entry *e = &g->all->items[i];

		if (e->rank == CONFIG_FROM_FILE && slice_eq_cstr(name, e->name)) {
			fault_add(g->faults, g->all->env_file, line,
			    "%s stands in line %u already, expected it once", e->name, e->line);
			return;
		}
	}
	add(g, name, value, CONFIG_FROM_FILE, line);
}

/* Reads ${path} whole into the arena; errno says why not. */
static enum err
read_file(const char *path, struct arena *a, struct slice *out)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char *bytes = arena_alloc(a, FILE_BYTES_MAX + 1);
	size_t len = 0;
	ssize_t n = -1;

	if (fd != -1 && bytes != NULL)
		while ((n = read(fd, bytes + len, FILE_BYTES_MAX + 1 - len)) > 0)
			len += (size_t)n;
	if (len > FILE_BYTES_MAX)
		errno = EFBIG;
	if (fd != -1)
		(void)close(fd);
	if (n != 0 || len > FILE_BYTES_MAX)
		return ERR_IO;
	*out = (struct slice){ bytes, len };
	return ERR_OK;
}

static const char *
folder_of(const char *path, struct arena *a)
{
	const char *slash = strrchr(path, '/');

	if (slash == path)
		return "/";
	return arena_copy(a, (struct slice){ path, (size_t)(slash - path) });
}

static void
gather_file(struct gathering *g, const char *path)
{
	struct slice text;
	unsigned line;
	const char *why;

	if (read_file(path, g->a, &text) != ERR_OK) {
		fault_add(g->faults, path, 0, "cannot be read (%s)", strerror(errno));
		return;
	}
	while (dotenv_parse(text, add_line, g, &line, &why) == ERR_INVALID) {
		g->lines_before += line;
		fault_add(g->faults, path, g->lines_before, "%s", why);
		for (; line > 0; line--)
			(void)slice_cut(&text, '\n');
	}
}

/* Whoever started us has read everything already. */
static bool
is_supervised(const char *const *environment)
{
	for (; *environment != NULL; environment++)
		if (strncmp(*environment, WORKER_ENV_LIFELINE "=", sizeof WORKER_ENV_LIFELINE) == 0)
			return true;
	return false;
}

enum err
config_gather(const struct config_input *in, struct arena *a, struct fault_list *faults,
    struct config_entries *out)
{
	const char *wanted = in->env_file == NULL ? ".env" : in->env_file;
	char real[PATH_MAX];
	struct gathering g = { .all = out, .a = a, .faults = faults };

	*out = (struct config_entries){ .supervised = is_supervised(in->environment) };
	if (getcwd(real, sizeof real) == NULL)
		return ERR_IO;
	out->cwd = out->base_dir = arena_copy(a, slice_of(real));
	gather_command_line(&g, in);
	gather_environment(&g, in->environment);
	if (out->supervised)
		return a->overflowed ? ERR_NOMEM : ERR_OK;
	if (realpath(wanted, real) != NULL) {
		out->env_file = arena_copy(a, slice_of(real));
		out->base_dir = folder_of(real, a);
		gather_file(&g, out->env_file);
	} else if (in->env_file != NULL || errno != ENOENT) {
		fault_add(faults, wanted, 0, "cannot be read (%s)", strerror(errno));
	}
	return a->overflowed ? ERR_NOMEM : ERR_OK;
}

const char *
config_entry_where(const struct config_entries *all, const struct config_entry *e)
{
	switch (e->rank) {
	case CONFIG_FROM_COMMAND_LINE:
		return "command line";
	case CONFIG_FROM_ENVIRONMENT:
		return "environment";
	case CONFIG_FROM_FILE:
		return all->env_file;
	}
	return NULL;
}

const char *
config_entry_origin(const struct config_entries *all, const struct config_entry *e, struct arena *a)
{
	if (e == NULL)
		return "default";
	if (e->line == 0)
		return config_entry_where(all, e);
	return arena_printf(a, "%s:%u", config_entry_where(all, e), e->line);
}

/* ${name} with _FILE, or ${name} itself. */
static bool
is_file_name(const char *entry, const char *name)
{
	const size_t n = strlen(name);

	return strncmp(entry, name, n) == 0 && strcmp(entry + n, "_FILE") == 0;
}

static enum err
read_secret(const struct config_entries *all, const struct config_entry *e, struct arena *a,
    struct fault_list *faults, const char **value_out)
{
	const char *path = e->value;
	struct slice text;

	if (*path != '/')
		path = arena_printf(a, "%s/%s", all->base_dir, path);
	if (path == NULL)
		return ERR_NOMEM;
	if (read_file(path, a, &text) != ERR_OK) {
		fault_add(faults, config_entry_where(all, e), e->line,
		    "%s is \"%s\", expected a file that can be read (%s)", e->name, e->value,
		    strerror(errno));
		return ERR_INVALID;
	}
	while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
		text.len--;
	if (memchr(text.ptr, '\0', text.len) != NULL) {
		fault_add(faults, config_entry_where(all, e), e->line,
		    "%s names a file with a NUL byte, expected text", e->name);
		return ERR_INVALID;
	}
	*value_out = arena_copy(a, text);
	return *value_out == NULL ? ERR_NOMEM : ERR_OK;
}

/* Entries are in the order in which they count, so the first that speaks of ${name} wins. */
enum err
config_lookup(const struct config_entries *all, const char *name, struct arena *a,
    struct fault_list *faults, const struct config_entry **entry_out, const char **value_out)
{
	const struct config_entry *plain = NULL, *file = NULL;

	*entry_out = NULL;
	for (size_t i = 0; i < all->count; i++) {
		const struct config_entry *e = &all->items[i];

		if (plain == NULL && strcmp(e->name, name) == 0)
			plain = e;
		else if (file == NULL && is_file_name(e->name, name))
			file = e;
	}
	if (plain != NULL && file != NULL && plain->rank == file->rank) {
		fault_add(faults, config_entry_where(all, file), file->line,
		    "%s and %s are both set, expected one of them", name, file->name);
		return ERR_INVALID;
	}
	if (file != NULL && *file->value != '\0' && (plain == NULL || file->rank < plain->rank)) {
		*entry_out = file;
		return read_secret(all, file, a, faults, value_out);
	}
	if (plain != NULL && *plain->value != '\0') {
		*entry_out = plain;
		*value_out = plain->value;
	}
	return ERR_OK;
}

static struct slice
without_file_suffix(const char *name)
{
	struct slice s = slice_of(name);

	if (s.len > 5 && memcmp(s.ptr + s.len - 5, "_FILE", 5) == 0)
		s.len -= 5;
	return s;
}

static bool
is_setting(const char *name)
{
	return config_is_kafka(name) || config_is_otel(name) ||
	       config_find(slice_of(name)) != NULL ||
	       config_find(without_file_suffix(name)) != NULL;
}

static const char *
nearest_setting(const char *name)
{
	const char *known[CONFIG_KEY__COUNT + 1] = { NULL };

	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++)
		known[i] = config_infos[i].name;
	return fault_nearest(name, known);
}

/* A name in `.env` was meant for us, so there a near miss is worth a word whatever it begins with. */
static void
check_unknown(
    const struct config_entries *all, const struct config_entry *e, struct fault_list *faults)
{
	const char *where = config_entry_where(all, e), *near = nearest_setting(e->name);
	const bool ours = strncmp(e->name, "WEIR_", 5) == 0;

	if (ours && near != NULL)
		fault_add(
		    faults, where, e->line, "%s is not a setting, did you mean %s?", e->name, near);
	else if (ours)
		fault_add(faults, where, e->line,
		    "%s is not a setting, expected one of `weir config`", e->name);
	else if (e->rank == CONFIG_FROM_FILE && near != NULL)
		fault_warn(
		    faults, where, e->line, "%s is not a setting, did you mean %s?", e->name, near);
}

static bool
is_overruled(const struct config_entries *all, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (strcmp(all->items[j].name, all->items[i].name) == 0)
			return true;
	return false;
}

void
config_check_names(const struct config_entries *all, struct fault_list *faults)
{
	for (size_t i = 0; i < all->count; i++) {
		const struct config_entry *e = &all->items[i];

		if (!is_setting(e->name) && !is_overruled(all, i))
			check_unknown(all, e, faults);
	}
}
