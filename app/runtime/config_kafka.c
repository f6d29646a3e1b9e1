/*
 * KAFKA_CONFIG_*: settings of librdkafka, which has some two hundred of them and judges them itself.
 *
 * KAFKA_CONFIG_SASL_MECHANISM is sasl.mechanism; the names have no line in our table, so they are listed
 * from what was set.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/engines.h"
#include "base/fault.h"
#include "client/kafka.h"
#include "runtime/config_source.h"

enum { WHY_BYTES = 256 };

#define PREFIX	    CONFIG_KAFKA_PREFIX
#define FILE_SUFFIX "_FILE"

bool
config_is_kafka(const char *name)
{
	return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0;
}

/* Our name without the suffix of NAME_FILE. */
static const char *
plain_name(const char *name, struct arena *a)
{
	struct slice s = slice_of(name);
	const size_t n = sizeof FILE_SUFFIX - 1;

	if (s.len > n && memcmp(s.ptr + s.len - n, FILE_SUFFIX, n) == 0)
		s.len -= n;
	return arena_copy(a, s);
}

static const char *
their_name(const char *ours, struct arena *a)
{
	char *name = arena_copy(a, slice_of(ours + sizeof PREFIX - 1));

	for (char *p = name; p != NULL && *p != '\0'; p++)
		*p = *p == '_' ? '.' : (char)tolower((unsigned char)*p);
	return name;
}

static bool
is_known(const struct kafka_setting *settings, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(settings[i].name, name) == 0)
			return true;
	return false;
}

/* A value may be a password, so no fault quotes it; librdkafka's reason does for some, but never for those. */
static void
check(const struct config_entries *all, const struct config_entry *e, const char *ours,
    const struct kafka_setting *s, struct fault_list *faults)
{
	char why[WHY_BYTES];

	if (!ENGINE_KAFKA)
		fault_add(faults, config_entry_where(all, e), e->line,
		    "%s is for Kafka, which this weir is built without (weir --version)", ours);
	else if (kafka_check_setting(s, why, sizeof why) != ERR_OK)
		fault_add(faults, config_entry_where(all, e), e->line,
		    "%s is %s for librdkafka, which refuses it (%s)", ours, s->name, why);
}

/* Too much is hidden rather than too little: librdkafka does not tell which of its settings are secrets. */
static bool
may_be_secret(const char *their_name)
{
	static const char *const words[] = { "password", "secret", "key", "pem", "oauth",
		"config" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strstr(their_name, words[i]) != NULL)
			return true;
	return false;
}

enum err
config_kafka(const struct config_entries *all, struct arena *a, struct fault_list *faults,
    struct kafka_setting **settings_out, struct config_kafka_text **texts_out, size_t *count_out)
{
	struct kafka_setting *settings = arena_alloc(a, (all->count + 1) * sizeof *settings);
	struct config_kafka_text *texts = arena_alloc(a, (all->count + 1) * sizeof *texts);
	const struct config_entry *e;
	size_t count = 0;

	for (size_t i = 0; i < all->count && settings != NULL && texts != NULL; i++) {
		struct kafka_setting *s = &settings[count];
		const char *ours;

		if (!config_is_kafka(all->items[i].name))
			continue;
		ours = plain_name(all->items[i].name, a);
		s->name = ours == NULL ? NULL : their_name(ours, a);
		s->value = NULL;
		if (s->name == NULL || is_known(settings, count, s->name))
			continue;
		if (config_lookup(all, ours, a, faults, &e, &s->value) != ERR_OK || e == NULL)
			continue; /* said, or empty */
		check(all, e, ours, s, faults);
		texts[count++] = (struct config_kafka_text){ .name = ours,
			.shown = may_be_secret(s->name) ? "***" : s->value,
			.origin = config_entry_origin(all, e, a) };
	}
	*settings_out = settings;
	*texts_out = texts;
	*count_out = count;
	return a->overflowed ? ERR_NOMEM : ERR_OK;
}
