#ifndef CLIENT_ZSTD_H
#define CLIENT_ZSTD_H

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Blocks of bytes made smaller, by libzstd at its fastest level.  No state, no I/O; any thread.
 */

/* Appends ${in}, packed, to ${out}.  ERR_NOMEM. */
enum err zstd_pack(struct slice in, struct strbuf *out);

/* Unpacks ${in}, whatever bytes it is, to exactly ${bytes} bytes at ${out}; ERR_INVALID: it is not that. */
enum err zstd_unpack(struct slice in, char *out, size_t bytes);

#endif
