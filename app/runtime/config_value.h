#ifndef RUNTIME_CONFIG_VALUE_H
#define RUNTIME_CONFIG_VALUE_H

#include "base/arena.h"
#include "runtime/config.h"

/*
 * One value of one kind: text to field.  Private to config.c.
 */
enum config_verdict {
	CONFIG_GOOD,
	CONFIG_BAD,   /* not what config_expected() says */
	CONFIG_LATER, /* understood, but it comes with a later version */
	CONFIG_ABSENT /* for an engine that this weir is built without (base/engines.h) */
};

/* Writes ${info}'s field at ${field} and *${resolved_out}, the text as it counts (absolute paths).
 * ${text} is not empty; both results live in the arena. */
enum config_verdict config_value_parse(const struct config_info *info, const char *text,
    const char *base_dir, struct arena *a, void *field, const char **resolved_out);

#endif
