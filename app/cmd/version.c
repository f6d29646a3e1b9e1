/*
 * weir --version: which weir this is, and which engines it is built with.
 *
 * An engine that is not in is named with the setting that asks for it, because that setting is a fault then.
 */
#include "cmd/version.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/engines.h"
#include "base/version.h"

struct engine {
	const char *name, *setting;
	bool built_in;
};

static const struct engine engines[] = {
	{ "SQLite", "DB_WRITE_URL=sqlite:", true },
	{ "PostgreSQL", "DB_WRITE_URL=postgres://, DB_READ_URL", ENGINE_POSTGRESQL },
	{ "Redis", "REDIS_URL", true },
	{ "Kafka", "KAFKA_BROKERS", ENGINE_KAFKA },
	{ "OTLP", "OTEL_EXPORTER_OTLP_ENDPOINT", ENGINE_OTLP },
};

enum exit_code
version_print(void)
{
	(void)printf("weir " WEIR_VERSION "%s\n", WEIR_STATIC ? ", linked statically" : "");
	for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
		(void)printf("  %-10s  %s (%s)\n", engines[i].name,
		    engines[i].built_in ? "built in" : "not built in", engines[i].setting);
	return EXIT_CODE_DONE;
}
