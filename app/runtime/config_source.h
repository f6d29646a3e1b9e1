#ifndef RUNTIME_CONFIG_SOURCE_H
#define RUNTIME_CONFIG_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "runtime/config.h"

struct fault_list;
struct otel_settings; /* service/otel_settings.h */
struct otel_variable;

/*
 * Where settings come from, before anybody knows what they mean: command line, environment and `.env`
 * file, gathered in the order in which they count.  Private to config.c.
 */
struct config_entry {
	const char *name, *value;
	enum config_rank {
		CONFIG_FROM_COMMAND_LINE,
		CONFIG_FROM_ENVIRONMENT,
		CONFIG_FROM_FILE
	} rank;
	unsigned line; /* CONFIG_FROM_FILE */
};

struct config_entries {
	struct config_entry *items;
	size_t count, cap;
	const char *env_file; /* the one that was read, absolute; NULL: none */
	const char *cwd;
	const char
	    *base_dir;	 /* from which relative paths count, but for those of the command line */
	bool supervised; /* settings came from the supervisor, complete and checked */
};

/* Everything lives in ${a}.  Faults: a bad `.env` file, or a name twice in it. */
enum err config_gather(const struct config_input *in, struct arena *a, struct fault_list *faults,
    struct config_entries *out);

/* Where ${e} stands, as a fault's file and line. */
const char *config_entry_where(const struct config_entries *all, const struct config_entry *e);
/* The same in one text, "/srv/.env:3", in ${a}; "default" of NULL. */
const char *config_entry_origin(
    const struct config_entries *all, const struct config_entry *e, struct arena *a);

/* The value that counts for ${name}: *${entry_out} is NULL when nobody sets it.  Reads the file of NAME_FILE. */
enum err config_lookup(const struct config_entries *all, const char *name, struct arena *a,
    struct fault_list *faults, const struct config_entry **entry_out, const char **value_out);

#define CONFIG_KAFKA_PREFIX "KAFKA_CONFIG_"
/* KAFKA_CONFIG_*: a setting of librdkafka, and no line of the table. */
bool config_is_kafka(const char *name);
/* All of them that count.  Faults: what librdkafka does not take. */
enum err config_kafka(const struct config_entries *all, struct arena *a, struct fault_list *faults,
    struct kafka_setting **settings_out, struct config_kafka_text **texts_out, size_t *count_out);

/* OTEL_*: variables of OpenTelemetry, and no lines of the table either.  Faults are warnings. */
bool config_is_otel(const char *name);
enum err config_otel(const struct config_entries *all, struct arena *a, struct fault_list *faults,
    const struct otel_settings **settings_out, struct otel_variable **variables_out,
    size_t *count_out);

/* Names that mean nothing here, and what comes with a later version. */
void config_check_names(const struct config_entries *all, struct fault_list *faults);

#endif
