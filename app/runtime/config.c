/*
 * The settings of one process: the table, and the loading of it.
 *
 * For each line of the table: find the value that counts, expand a default, let its kind read it, and
 * report what is wrong.  Nothing stops at the first fault.
 */
#include "runtime/config.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "http/endpoint.h"
#include "policy/limiter.h"
#include "runtime/config_source.h"
#include "runtime/config_value.h"
#include "runtime/worker_env.h"
#include "service/pg_url.h"
#include "service/shard_url.h"

enum {
	ARENA_BYTES_MAX = 8 * 1024 * 1024, /* a .env file, its values, and the files of NAME_FILE */
	PATH_BYTES_MAX = 4096,
	SOURCE_LEVELS = 4,
};

#define INSTALLED_HANDLERS "/etc/weir/handlers"
#define SOURCE_HANDLERS	   "/handlers/atlas"

const struct config_info config_infos[CONFIG_KEY__COUNT] = {
#define CONFIG(field, name, kind, fallback, min, max, unit, secret, help)                          \
	{ name, CONFIG_KIND_##kind, fallback, min, max, unit, secret, help },
#include "runtime/config_keys.inc"
#undef CONFIG
};

static const size_t field_offsets[CONFIG_KEY__COUNT] = {
#define CONFIG(field, ...) offsetof(struct config, field),
#include "runtime/config_keys.inc"
#undef CONFIG
};

struct loading {
	struct config *c;
	struct fault_list *faults;
	struct config_entries entries;
	const struct config_entry *from[CONFIG_KEY__COUNT]; /* NULL: the default */
};

const struct config_info *
config_find(struct slice name)
{
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++)
		if (slice_eq_cstr(name, config_infos[i].name))
			return &config_infos[i];
	return NULL;
}

const char *
config_shown(const struct config_info *info, const char *value, struct arena *a)
{
	const char *colon = strchr(value, ':');

	if (!info->secret || *value == '\0' || strncmp(value, "sqlite:", 7) == 0)
		return value;
	if (info->kind == CONFIG_KIND_REDIS)
		return shard_urls_shown(slice_of(value), a);
	if (pg_url_fits(slice_of(value)))
		return pg_urls_shown(slice_of(value), a);
	if (colon == NULL)
		return "***";
	return arena_printf(a, "%.*s:***", (int)(colon - value), value);
}

static int64_t
cpu_count(void)
{
	const int64_t most = config_infos[CONFIG_KEY_workers].max;
	cpu_set_t set;
	int n = 1;

	if (sched_getaffinity(0, sizeof set, &set) == 0)
		n = CPU_COUNT(&set);
	return n > most ? most : n;
}

/* Above a program that was built and not installed (build/weir, build/asan/weir) lies the source tree; beside one that was copied
 * into a web root, a folder of endpoint files. */
static const char *
default_handlers(struct arena *a)
{
	char path[PATH_BYTES_MAX], beside[PATH_BYTES_MAX] = "", *slash;
	const ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof SOURCE_HANDLERS);

	if (n <= 0)
		return INSTALLED_HANDLERS;
	path[n] = '\0';
	for (int up = 0; up < SOURCE_LEVELS; up++) {
		slash = strrchr(path, '/');
		if (slash == NULL)
			break;
		if (up == 0)
			(void)snprintf(
			    beside, sizeof beside, "%.*s/handlers", (int)(slash - path), path);
		(void)strcpy(slash, SOURCE_HANDLERS);
		if (access(path, F_OK) == 0)
			return arena_copy(a, slice_of(path));
		*slash = '\0';
	}
	return access(beside, F_OK) == 0 ? arena_copy(a, slice_of(beside)) : INSTALLED_HANDLERS;
}

/* "unix:$WEIR_STATE_DIR/weir.sock" with what that setting, an earlier line of the table, came to. */
static const char *
expand(const struct config *c, const char *text, struct arena *a)
{
	const char *dollar = strchr(text, '$');
	size_t n;

	if (dollar == NULL)
		return text;
	n = strspn(dollar + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++)
		if (slice_eq_cstr((struct slice){ dollar + 1, n }, config_infos[i].name))
			return arena_printf(a, "%.*s%s%s", (int)(dollar - text), text,
			    c->texts[i].value, dollar + 1 + n);
	return text;
}

static const char *
default_text(const struct loading *l, enum config_key key)
{
	struct arena *a = &l->c->arena;

	if (key == CONFIG_KEY_workers)
		return arena_printf(a, "%d", (int)cpu_count());
	if (key == CONFIG_KEY_handlers)
		return default_handlers(a);
	return expand(l->c, config_infos[key].fallback, a);
}

/* Where ${key}'s value stands. */
static const char *
where_of(const struct loading *l, enum config_key key, unsigned *line_out)
{
	const struct config_entry *e = l->from[key];

	*line_out = e == NULL ? 0 : e->line;
	return e == NULL ? config_infos[key].name : config_entry_where(&l->entries, e);
}

static const char *const reasons[] = {
	[CONFIG_BAD] = "",
	[CONFIG_LATER] = "which comes with a later version, ",
	[CONFIG_ABSENT] = "which this weir is built without (weir --version), ",
};

/* A secret's value must not reach a log through its fault. */
static void
report(struct loading *l, enum config_key key, const char *value, enum config_verdict v)
{
	const struct config_info *info = &config_infos[key];
	struct arena *a = &l->c->arena;
	unsigned line;
	const char *where = where_of(l, key, &line);

	fault_add(l->faults, where, line, "%s is \"%s\", %sexpected %s", info->name,
	    config_shown(info, value, a), reasons[v], config_expected(info, a));
}

static enum config_verdict
read_value(struct loading *l, enum config_key key, const char *value)
{
	const struct config_entry *e = l->from[key];
	const bool typed = e != NULL && e->rank == CONFIG_FROM_COMMAND_LINE;

	return config_value_parse(&config_infos[key], value,
	    typed ? l->entries.cwd : l->entries.base_dir, &l->c->arena,
	    (char *)l->c + field_offsets[key], &l->c->texts[key].value);
}

/* A bad value's field gets its default, so that the rest can be checked as well; its text stays empty, so
 * that what is made from it is not blamed again. */
static void
fall_back(struct loading *l, enum config_key key)
{
	const char *value = default_text(l, key);

	l->from[key] = NULL;
	if (value != NULL && *value != '\0')
		(void)read_value(l, key, value);
	l->c->texts[key].value = "";
}

static void
load_key(struct loading *l, enum config_key key)
{
	const char *name = config_infos[key].name, *value = NULL;
	struct config_text *text = &l->c->texts[key];
	const enum err found =
	    config_lookup(&l->entries, name, &l->c->arena, l->faults, &l->from[key], &value);
	enum config_verdict v;

	text->value = "";
	text->is_default = l->from[key] == NULL;
	text->origin = config_entry_origin(&l->entries, l->from[key], &l->c->arena);
	if (found != ERR_OK) { /* said */
		fall_back(l, key);
		return;
	}
	if (text->is_default)
		value = default_text(l, key);
	if (value == NULL || *value == '\0')
		return;
	v = read_value(l, key, value);
	if (v == CONFIG_GOOD)
		return;
	report(l, key, value, v);
	fall_back(l, key);
}

/* Without Kafka no write would ever be acknowledged. */
static void
check_ack(struct loading *l)
{
	unsigned line;
	const char *where = where_of(l, CONFIG_KEY_ack, &line);

	if (l->c->ack == CONFIG_ACK_KAFKA && l->c->kafka_brokers == NULL)
		fault_add(l->faults, where, line,
		    "WEIR_ACK is \"kafka\", expected KAFKA_BROKERS to be set as well");
}

static void
check_listen(struct loading *l, const char *address, enum config_key key)
{
	unsigned line;
	const char *where = where_of(l, key, &line);

	if (address_unix_path(address) != NULL || address_is_loopback(address) ||
	    !l->c->texts[CONFIG_KEY_listen_allow].is_default)
		return;
	fault_add(l->faults, where, line,
	    "%s is \"%s\", which others can reach, expected WEIR_LISTEN_ALLOW to say who may "
	    "connect",
	    config_infos[key].name, address);
}

static void
check_sockets_differ(struct loading *l)
{
	unsigned line;
	const char *where = where_of(l, CONFIG_KEY_admin_listen, &line);

	if (strcmp(l->c->listen, l->c->admin_listen) == 0)
		fault_add(l->faults, where, line,
		    "WEIR_ADMIN_LISTEN is \"%s\", expected another socket than WEIR_LISTEN",
		    l->c->admin_listen);
}

static void
check_window(struct loading *l)
{
	unsigned line;
	const char *where = where_of(l, CONFIG_KEY_rate_limit_points, &line);

	if (l->c->rate_limit_algorithm == LIMIT_SLIDING_WINDOW &&
	    l->c->rate_limit_points > LIMITER_WINDOW_MAX)
		fault_add(l->faults, where, line,
		    "RATE_LIMIT_POINTS is \"%s\", expected at most %d with sliding-window",
		    l->c->texts[CONFIG_KEY_rate_limit_points].value, (int)LIMITER_WINDOW_MAX);
}

/* Endpoint files are read for one kind of database, and writes go to one place. */
static void
check_databases(struct loading *l)
{
	const bool reads = pg_url_fits(slice_of(l->c->db_read_url));
	const bool writes = pg_url_fits(slice_of(l->c->db_write_url));
	unsigned line;
	const char *where = where_of(l, CONFIG_KEY_db_read_url, &line);

	if (reads != writes)
		fault_add(l->faults, where, line,
		    "DB_READ_URL is \"%s\", expected the same kind of database as DB_WRITE_URL",
		    config_shown(
			&config_infos[CONFIG_KEY_db_read_url], l->c->db_read_url, &l->c->arena));
	where = where_of(l, CONFIG_KEY_db_write_url, &line);
	if (writes && strchr(l->c->db_write_url, ',') != NULL)
		fault_add(l->faults, where, line, "DB_WRITE_URL is \"%s\", expected one server",
		    config_shown(
			&config_infos[CONFIG_KEY_db_write_url], l->c->db_write_url, &l->c->arena));
}

bool
config_on_postgresql(const struct config *c)
{
	return c->db_write_url != NULL && pg_url_fits(slice_of(c->db_write_url));
}

/* What no setting can judge alone; asked only when each is good. */
static void
check_together(struct loading *l)
{
	check_listen(l, l->c->listen, CONFIG_KEY_listen);
	check_listen(l, l->c->admin_listen, CONFIG_KEY_admin_listen);
	check_sockets_differ(l);
	check_window(l);
	check_databases(l);
	check_ack(l);
}

/* What the supervisor has said is not said again by its children. */
static enum err
load_otel(struct loading *l)
{
	struct fault_list said;
	enum err rc;

	fault_init(&said);
	rc = config_otel(&l->entries, &l->c->arena, l->entries.supervised ? &said : l->faults,
	    &l->c->otel, &l->c->otel_variables, &l->c->otel_variable_count);
	fault_free(&said);
	return rc;
}

static enum err
load_all(struct loading *l, const struct config_input *in)
{
	const size_t errors_before = l->faults->errors;
	enum err rc = config_gather(in, &l->c->arena, l->faults, &l->entries);

	if (rc != ERR_OK)
		return rc;
	l->c->files_fd = l->entries.supervised ? WORKER_FILES_FD : -1;
	if (!l->entries.supervised)
		config_check_names(&l->entries, l->faults);
	for (int key = 0; key < CONFIG_KEY__COUNT; key++)
		load_key(l, (enum config_key)key);
	rc = config_kafka(&l->entries, &l->c->arena, l->faults, &l->c->kafka_settings,
	    &l->c->kafka_texts, &l->c->kafka_setting_count);
	if (rc == ERR_OK)
		rc = load_otel(l);
	if (rc != ERR_OK || l->c->arena.overflowed)
		return ERR_NOMEM;
	if (l->faults->errors == errors_before)
		check_together(l);
	return l->faults->errors > errors_before ? ERR_INVALID : ERR_OK;
}

enum err
config_load(const struct config_input *in, struct fault_list *faults, struct config **out)
{
	struct loading l = { .c = calloc(1, sizeof *l.c), .faults = faults };
	enum err rc;

	*out = NULL;
	if (l.c == NULL)
		return ERR_NOMEM;
	arena_init(&l.c->arena, ARENA_BYTES_MAX);
	rc = load_all(&l, in);
	if (rc == ERR_OK || rc == ERR_INVALID) {
		*out = l.c;
		return rc;
	}
	fault_add(faults, "settings", 0, "cannot be read (%s)", err_name(rc));
	config_free(&l.c);
	return rc;
}

void
config_free(struct config **cp)
{
	struct config *c = *cp;

	if (c == NULL)
		return;
	*cp = NULL;
	arena_free(&c->arena);
	free(c);
}
