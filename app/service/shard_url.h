#ifndef SERVICE_SHARD_URL_H
#define SERVICE_SHARD_URL_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * REDIS_URL: `redis://[user:pass@]host[:port][/db]` or `unix:PATH`; several, comma-separated, are shards.
 * User and password are percent-decoded, so that they may hold `@`, `:`, `/` and `,`.
 */
struct shard_url {
	const char *host; /* a name or an address, without brackets; NULL for a unix socket */
	uint16_t port;
	const char *path;	     /* of a unix socket, else NULL */
	const char *user, *password; /* NULL: none */
	unsigned database;
	const char *shown; /* whole, with *** for the password */
	/* What the rendezvous hash knows it by, the same on every host: "host:port/db" or "unix:PATH". */
	const char *identity;
};

enum { SHARD_URLS_MAX = 16 };

/* Fills ${out}; everything lives in ${a}.  ERR_INVALID: *${why_out} is constant text, such as "a port from 1 to
 * 65535", and says what was expected; ERR_NOMEM. */
enum err shard_urls_parse(struct slice text, struct arena *a, struct shard_url out[SHARD_URLS_MAX],
    size_t *count_out, const char **why_out);

/* ${text}, good or bad, as it may be shown: what may be a password becomes ***. */
const char *shard_urls_shown(struct slice text, struct arena *a);

#endif
