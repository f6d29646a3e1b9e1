/*
 * The words for enum err: what a person reads in a log line.
 *
 * Nothing decides here; the HTTP status of a failure is chosen in
 * http/problem.c.
 */
#include "base/err.h"

#include <stddef.h>

static const char *const names[ERR__COUNT] = {
	[ERR_OK] = "ok",
	[ERR_NOMEM] = "no memory",
	[ERR_INVALID] = "invalid",
	[ERR_NOT_FOUND] = "not found",
	[ERR_CONFLICT] = "conflict",
	[ERR_MISMATCH] = "mismatch",
	[ERR_LIMITED] = "limited",
	[ERR_OVERLOADED] = "overloaded",
	[ERR_TIMEOUT] = "timeout",
	[ERR_UNAVAILABLE] = "unavailable",
	[ERR_FULL] = "full",
	[ERR_TOO_LARGE] = "too large",
	[ERR_DENIED] = "denied",
	[ERR_IO] = "io",
};

const char *
err_name(enum err e)
{
	if ((unsigned)e >= ERR__COUNT || names[e] == NULL)
		return "unknown";
	return names[e];
}
