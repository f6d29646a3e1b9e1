#ifndef CLIENT_LOOKUP_H
#define CLIENT_LOOKUP_H

#include <stdint.h>

struct addrinfo;

/*
 * getaddrinfo(3) with a deadline, for libraries that ask for names when they need them: they must not hang,
 * nor their end, for as long as a resolver that never answers likes.
 *
 * EAI_AGAIN: no answer within ${timeout_ms}.  It is kept when it comes, for who asks for the same name next, so a
 * resolver that is only slow is no obstacle.  At most one thread for each name that is not answered yet; none for
 * numeric ones.  *${out} is freed by freeaddrinfo(3).  Any thread may ask.  Who knows its names ahead of need
 * takes client/resolver.h.
 */
int lookup_address(const char *node, const char *service, const struct addrinfo *hints,
    int64_t timeout_ms, struct addrinfo **out);

#endif
