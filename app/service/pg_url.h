#ifndef SERVICE_PG_URL_H
#define SERVICE_PG_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct pg_address; /* client/pg.h */

/*
 * DB_READ_URL and DB_WRITE_URL of PostgreSQL: `postgres://user:pass@host:port/database`, also with `postgresql:`;
 * several, comma-separated, are replicas.
 *
 * The parts are percent-decoded, so that they may hold `@`, `:`, `/` and `,`.  A unix socket is its folder for a
 * host: `postgres://user@%2Frun%2Fpostgresql/database`, or `postgres://user@/database?host=/run/postgresql`.
 * Behind `?` stand sslmode and sslrootcert, as libpq knows them.
 */
struct pg_url {
	const char *host; /* a name, an address without brackets, or the folder of a unix socket */
	uint16_t port;
	const char *user, *password, *database; /* password NULL: none */
	const char *tls_mode, *tls_root;	/* NULL: libpq's own */
	const char *shown;			/* whole, with *** for the password */
};

enum { PG_URLS_MAX = 16 };

/* Whether ${text} is to be read as such at all. */
bool pg_url_fits(struct slice text);

/* Fills ${out}; everything lives in ${a}.  ERR_INVALID: *${why_out} is constant text, such as "a port from 1 to
 * 65535", and says what was expected; ERR_NOMEM. */
enum err pg_urls_parse(struct slice text, struct arena *a, struct pg_url out[PG_URLS_MAX],
    size_t *count_out, const char **why_out);

/* ${text}, good or bad, as it may be shown: what may be a password becomes ***. */
const char *pg_urls_shown(struct slice text, struct arena *a);

/* Same server and database, whoever the user. */
bool pg_url_same_place(const struct pg_url *a, const struct pg_url *b);

/* Whether ${u} is reached without a look-up: the folder of a unix socket. */
bool pg_url_is_local(const struct pg_url *u);

/* Where to connect, ${numeric} being what the resolver found for the host (NULL for a unix socket); all is lent. */
struct pg_address pg_url_address(const struct pg_url *u, const char *numeric);

#endif
