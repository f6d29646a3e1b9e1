#ifndef SERVICE_COPY_ENVELOPE_H
#define SERVICE_COPY_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/*
 * A stored copy as it lies in Redis: a head with version, times and generations, then the copy block
 * (service/copy.h), packed when it is large.
 *
 * The head's first fields are also read by the script of service/cache_l2.c, so their places are part of the version:
 *
 *   0  "wc", version (2), flags (1: packed)      32  i64 error_ms
 *   4  u32 bytes of the block when unpacked      40  u64 hash of all other bytes
 *   8  i64 stored_us, by Redis's clock           48  u16 bytes of the generations
 *  16  i64 fresh_ms                              50  u32 what making it has taken, in us
 *                                                54  zeroes
 *  24  i64 stale_ms                              56  generations, then the block
 *
 * Numbers are little endian.  Whatever lies in Redis may have been written by anybody: every length is checked, and
 * what is not whole is a miss.
 */
enum { COPY_GENERATIONS_MAX = 512 };

struct copy_envelope {
	int64_t stored_us;		      /* Redis's clock */
	int64_t fresh_ms, stale_ms, error_ms; /* stale and error count from the end of fresh */
	uint32_t cost_us;		      /* what making it has taken */
	struct slice generations;	      /* as the script gave them */
	struct slice block;
};

/* Appends to ${out}.  ERR_NOMEM; ERR_TOO_LARGE: generations, or a block of 4 GiB. */
enum err copy_envelope_write(const struct copy_envelope *e, struct strbuf *out);

/* The block goes into the arena.  ERR_INVALID: no envelope of this version, damaged, or a block of more than
 * ${max_bytes}; ERR_NOMEM: the arena is full. */
enum err copy_envelope_open(
    struct slice bytes, size_t max_bytes, struct arena *a, struct copy_envelope *out);

#endif
