#ifndef CLIENT_GZIP_H
#define CLIENT_GZIP_H

#include "base/err.h"
#include "base/str.h"

/* Appends ${in} as gzip (RFC 1952), by zlib at its fastest level.  No state, no I/O; any thread.  ERR_NOMEM. */
enum err gzip_pack(struct slice in, struct strbuf *out);

#endif
