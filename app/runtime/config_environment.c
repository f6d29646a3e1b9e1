/*
 * The environment of a child: every setting as it counts, so that it needs no `.env` and none is read twice.
 *
 * What the base says of a setting is left out, and so is what only the supervisor is told: who is notified, which sockets
 * it was given.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "client/kafka.h"
#include "runtime/config_source.h"
#include "runtime/worker_env.h"
#include "service/otel_settings.h"

enum { ENVIRONMENT_BYTES_MAX = 16 << 20 };

static const char *const not_for_children[] = { WORKER_ENV_LIFELINE, "NOTIFY_SOCKET",
	"WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES" };

/* Also NAME_FILE, whose value was read already. */
static bool
is_setting(struct slice name)
{
	const struct slice suffix = SLICE("_FILE");
	const struct slice plain = { name.ptr, name.len > suffix.len ? name.len - suffix.len : 0 };

	return config_find(name) != NULL ||
	       (name.len > suffix.len &&
		   memcmp(name.ptr + plain.len, suffix.ptr, suffix.len) == 0 &&
		   config_find(plain) != NULL) ||
	       config_is_kafka(name.ptr) || config_is_otel(name.ptr);
}

static bool
is_for_children(const char *entry)
{
	const struct slice name = { entry, strcspn(entry, "=") };

	for (size_t i = 0; i < sizeof not_for_children / sizeof *not_for_children; i++)
		if (slice_eq_cstr(name, not_for_children[i]))
			return false;
	return !is_setting(name);
}

static void
add(struct strbuf *b, const char *name, const char *value)
{
	strbuf_add_cstr(b, name);
	strbuf_add_char(b, '=');
	strbuf_add_cstr(b, value);
	strbuf_add_char(b, '\0');
}

/* KAFKA_CONFIG_SASL_MECHANISM of sasl.mechanism. */
static void
add_kafka(struct strbuf *b, const struct kafka_setting *s)
{
	strbuf_add_cstr(b, CONFIG_KAFKA_PREFIX);
	for (const char *p = s->name; *p != '\0'; p++)
		strbuf_add_char(b, *p == '.' ? '_' : (char)toupper((unsigned char)*p));
	strbuf_add_char(b, '=');
	strbuf_add_cstr(b, s->value);
	strbuf_add_char(b, '\0');
}

/* ${texts}: ${count} strings one after the other. */
static char **
as_list(struct slice texts, size_t count)
{
	const size_t pointers_bytes = (count + 1) * sizeof(char *);
	char **list = malloc(pointers_bytes + texts.len);
	char *at;

	if (list == NULL)
		return NULL;
	at = (char *)list + pointers_bytes;
	memcpy(at, texts.ptr, texts.len);
	for (size_t i = 0; i < count; i++) {
		list[i] = at;
		at += strlen(at) + 1;
	}
	list[count] = NULL;
	return list;
}

char **
config_environment(const struct config *c, const char *const *base)
{
	struct strbuf b = STRBUF_INIT(ENVIRONMENT_BYTES_MAX);
	size_t count = CONFIG_KEY__COUNT + c->kafka_setting_count + c->otel_variable_count + 1;
	char **list = NULL;

	for (size_t i = 0; base[i] != NULL; i++) {
		if (!is_for_children(base[i]))
			continue;
		strbuf_add(&b, base[i], strlen(base[i]) + 1);
		count++;
	}
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++)
		add(&b, config_infos[i].name, c->texts[i].value);
	for (size_t i = 0; i < c->kafka_setting_count; i++)
		add_kafka(&b, &c->kafka_settings[i]);
	for (size_t i = 0; i < c->otel_variable_count; i++)
		add(&b, c->otel_variables[i].name, c->otel_variables[i].value);
	add(&b, WORKER_ENV_LIFELINE, WORKER_LIFELINE_TEXT);
	if (!b.failed)
		list = as_list(strbuf_slice(&b), count);
	strbuf_free(&b);
	return list;
}
