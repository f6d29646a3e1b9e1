#ifndef RUNTIME_BREAKERS_H
#define RUNTIME_BREAKERS_H

#include <stddef.h>
#include <stdint.h>

struct guard_view; /* service/guard.h */
struct strbuf;	   /* base/str.h */

/*
 * The breakers of this host, for people and for programs: the same in `weir breaker list` and `weir status`.
 * ${now_ms} is monotonic, of the moment when they were looked at.
 */
void breakers_text(const struct guard_view *all, size_t count, int64_t now_ms, struct strbuf *b);

/* An array of objects, without a newline. */
void breakers_json(const struct guard_view *all, size_t count, int64_t now_ms, struct strbuf *b);

#endif
