#ifndef RUNTIME_CONFIG_H
#define RUNTIME_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct cidr; /* http/address.h */
struct fault_list;
struct kafka_setting; /* client/kafka.h */
struct otel_settings; /* service/otel_settings.h */
struct otel_variable;

/*
 * The settings of one process, read once, checked whole, then never changed.
 *
 * Command line over environment over `.env` over default; an empty value is the default.  NAME_FILE
 * reads the value from a file.  Relative paths are made absolute from the folder of the `.env` file, or,
 * without one, from the working directory.  What comes with a later version is never silently ignored.
 */
struct cidr_set {
	const struct cidr *list;
	size_t count;
};

#define CONFIG_TYPE_PATH      const char * /* absolute; NULL when not set, as all texts */
#define CONFIG_TYPE_PATHS     const char * /* absolute ones, ':'-separated */
#define CONFIG_TYPE_ADDRESS   const char * /* unix:/ABSOLUTE or HOST:PORT */
#define CONFIG_TYPE_BASE_PATH const char * /* "/app", without a slash at its end */
#define CONFIG_TYPE_GROUP     const char * /* a group that exists */
#define CONFIG_TYPE_DATABASE  const char * /* sqlite:/ABSOLUTE, or what service/pg_url.h reads */
#define CONFIG_TYPE_REDIS     const char * /* as service/shard_url.h reads it; paths are absolute */
#define CONFIG_TYPE_DATABASE  const char * /* sqlite:/ABSOLUTE */
#define CONFIG_TYPE_BROKERS   const char * /* HOST:PORT, comma-separated */
#define CONFIG_TYPE_TOPIC     const char * /* a name that Kafka takes */
#define CONFIG_TYPE_CIDRS     struct cidr_set
#define CONFIG_TYPE_INT	      int64_t
#define CONFIG_TYPE_SIZE      int64_t /* bytes */
#define CONFIG_TYPE_DURATION  int64_t /* ms */
#define CONFIG_TYPE_MODE      int64_t
#define CONFIG_TYPE_CHOICE    int64_t /* place of the word: see the table */

enum config_kind {
	CONFIG_KIND_PATH,
	CONFIG_KIND_PATHS,
	CONFIG_KIND_ADDRESS,
	CONFIG_KIND_BASE_PATH,
	CONFIG_KIND_GROUP,
	CONFIG_KIND_DATABASE,
	CONFIG_KIND_REDIS,
	CONFIG_KIND_BROKERS,
	CONFIG_KIND_TOPIC,
	CONFIG_KIND_CIDRS,
	CONFIG_KIND_INT,
	CONFIG_KIND_SIZE,
	CONFIG_KIND_DURATION,
	CONFIG_KIND_MODE,
	CONFIG_KIND_CHOICE,
	CONFIG_KIND__COUNT
};

enum config_key { /* CONFIG_KEY_workers ... */
#define CONFIG(field, ...) CONFIG_KEY_##field,
#include "runtime/config_keys.inc"
#undef CONFIG
	CONFIG_KEY__COUNT
};

struct config_info { /* one line of the table */
	const char *name;
	enum config_kind kind;
	const char *fallback;
	int64_t min, max;
	const char *unit;
	bool secret;
	const char *help;
};
extern const struct config_info config_infos[CONFIG_KEY__COUNT];

struct config_text {
	const char *value; /* as it counts: expanded, absolute; "" when not set.  May be a secret */
	const char *origin; /* "default", "environment", "/srv/.env:3", "command line" */
	bool is_default;
};

struct config_kafka_text {
	const char *name;   /* KAFKA_CONFIG_SASL_PASSWORD */
	const char *shown;  /* the value as it may be shown: "***" where it can be a secret */
	const char *origin; /* as of a config_text */
};

struct config {
#define CONFIG(field, name, kind, ...) CONFIG_TYPE_##kind field;
#include "runtime/config_keys.inc"
#undef CONFIG
	struct kafka_setting *kafka_settings;  /* KAFKA_CONFIG_*, by librdkafka's names */
	struct config_kafka_text *kafka_texts; /* one for each of them */
	size_t kafka_setting_count;
	const struct otel_settings *otel;     /* OTEL_* */
	struct otel_variable *otel_variables; /* as they were set */
	size_t otel_variable_count;
	struct config_text texts[CONFIG_KEY__COUNT];
	int files_fd; /* the endpoint files, as the supervisor has read them; -1: there is none */
	struct arena arena; /* everything above lives here */
};

enum config_migrate { CONFIG_MIGRATE_ON, CONFIG_MIGRATE_OFF }; /* the words of WEIR_MIGRATE */
enum config_ack { CONFIG_ACK_SPOOL, CONFIG_ACK_KAFKA };	       /* the words of WEIR_ACK */

struct config_override { /* from the command line; paths are from the working directory */
	const char *name, *value;
};

struct config_input {
	const char *const *environment; /* "NAME=value", NULL-terminated */
	const char *env_file;		/* NULL: ./.env when it is there */
	const struct config_override *overrides;
	size_t override_count;
};

/* ERR_INVALID: every fault is in the list; what came out has defaults where something was bad, and serves only to
 * look for more faults.  Warnings alone are ERR_OK.  Freed by config_free() in both cases. */
enum err config_load(const struct config_input *in, struct fault_list *faults, struct config **out);
void config_free(struct config **cp);

/* The environment of a child, made of ${base} and every setting: it reads nothing else, so that one started an hour
 * later has the settings of the first.  NULL-terminated, to be freed with one free(); NULL: no memory. */
char **config_environment(const struct config *c, const char *const *base);

/* Whether the databases are PostgreSQL; else they are SQLite. */
bool config_on_postgresql(const struct config *c);

/* ${value} of ${info} as it may be shown: what is secret becomes "***".  In the arena. */
const char *config_shown(const struct config_info *info, const char *value, struct arena *a);

/* What ${info} takes, for messages and documentation: "a whole number from 1 to 240 (processes)". */
const char *config_expected(const struct config_info *info, struct arena *a);

/* By name, NULL when there is none. */
const struct config_info *config_find(struct slice name);

/* "unix:PATH": the path; NULL otherwise. */
const char *address_unix_path(const char *address);

/* Whether HOST of "HOST:PORT" is a loopback address or the word localhost. */
bool address_is_loopback(const char *address);

#endif
