#ifndef HTTP_ADDRESS_H
#define HTTP_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * Who calls: addresses in one canonical form.  IPv4-mapped IPv6 is IPv4; IPv6 counts by /64.
 */
struct cidr {
	uint8_t bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
	unsigned bits;	   /* of the 128 */
	bool unix_peer;	   /* the word `unix:`: a peer without an address */
};

/* "10.0.0.0/8,2001:db8::/32,unix:" ; a bare address is a whole one.  ERR_INVALID names *${bad_out}. */
enum err cidr_list_parse(struct slice text, struct arena *a, struct cidr **out, size_t *count_out,
    struct slice *bad_out);
bool cidr_list_has(const struct cidr *list, size_t count, struct slice address);

/*
 * The client's identity for limits: REMOTE_ADDR, or, when that is a trusted proxy, X-Forwarded-For
 * read from the right with trusted ones skipped.  "192.0.2.1", "2001:db8:1:2::/64" or "unknown".
 */
struct slice address_client(struct slice remote, struct slice forwarded_for,
    const struct cidr *trusted, size_t trusted_count, struct arena *a);

#endif
