/*
 * The table of what weir can do: the two handlers behind SQL files, and the built-in endpoints.
 */
#include "handlers/handlers.h"

#include <stddef.h>

#define SEGMENT(text)                                                                              \
	{                                                                                          \
		.literal = { (text), sizeof(text) - 1 }, .param = -1                               \
	}
#define TEXT(text)                                                                                 \
	{                                                                                          \
		(text), sizeof(text) - 1                                                           \
	}

/* Built-in endpoints have no file to say a limit: the catalog gives them the default one. */

static struct route_segment health_route[] = { SEGMENT("api"), SEGMENT("v1"), SEGMENT("health") };

static const struct endpoint health = {
	.name = TEXT("health"),
	.handler = &handler_health,
	.method = HTTP_GET,
	.route = TEXT("/api/v1/health"),
	.segments = health_route,
	.segment_count = sizeof health_route / sizeof *health_route,
	.description = TEXT("Whether this worker answers. An ordinary endpoint: limited, never "
			    "cached, never shed."),
	.never_shed = true,
};

static struct param operations_params[] = {
	{ .name = TEXT("event_id"), .type = VALUE_UUID, .place = PARAM_PATH },
};
static struct route_segment operations_route[] = { SEGMENT("api"), SEGMENT("v1"),
	SEGMENT("operations"), { .param = 0 } };

static const struct endpoint operations = {
	.name = TEXT("operations"),
	.handler = &handler_operations,
	.method = HTTP_GET,
	.route = TEXT("/api/v1/operations/:event_id"),
	.segments = operations_route,
	.segment_count = sizeof operations_route / sizeof *operations_route,
	.params = operations_params,
	.param_count = sizeof operations_params / sizeof *operations_params,
	.description =
	    TEXT("What became of an accepted write: accepted, applied or failed, and when."),
	.auth = AUTH_OPTIONAL,
	.uses_tenant = true,
	.cors_of_writes = true,
};

static const struct endpoint *const built_in[] = { &health, &operations };

const struct handler_set handlers = {
	.sql_read = &handler_sql_read,
	.sql_write = &handler_sql_write,
	.built_in = built_in,
	.built_in_count = sizeof built_in / sizeof *built_in,
};
