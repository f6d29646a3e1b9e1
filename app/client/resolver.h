#ifndef CLIENT_RESOLVER_H
#define CLIENT_RESOLVER_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Names to addresses, ahead of need: getaddrinfo() may block for as long as a resolver that never answers
 * likes, so only a thread of this module calls it, and everybody else looks at what it found last.
 *
 * Looked up again every half minute, a failure every second; what was found once stays when a later look-up fails.
 * Numeric names are there at once.  Any thread may look.  Failures are logged here, once for each change.
 */
struct resolver;

enum { RESOLVER_NAMES_MAX = 64, RESOLVER_ADDRESSES_MAX = 4, RESOLVER_NAME_BYTES = 256 };

struct resolver_addresses {
	size_t count; /* 0: not known (yet) */
	char text[RESOLVER_ADDRESSES_MAX][INET6_ADDRSTRLEN];
};

/* Names are copied; without one that needs a look-up there is no thread.  ERR_NOMEM, ERR_INVALID: too many
 * or too long. */
enum err resolver_open(const char *const *names, size_t count, struct resolver **out);
/* Does not wait for a look-up that is going on. */
void resolver_close(struct resolver **rp);

void resolver_look(struct resolver *r, size_t name, struct resolver_addresses *out);
/* Until every name has been looked up once; ERR_TIMEOUT at ${deadline_ms} (monotonic). */
enum err resolver_wait(struct resolver *r, int64_t deadline_ms);

#endif
