#ifndef TELEMETRY_PROTOBUF_H
#define TELEMETRY_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/*
 * Protocol buffers, as much of them as telemetry needs (encoding of proto3): fields appended to a strbuf, and read
 * from bytes that somebody else sent.  Writing fails as the strbuf does.  Fields with their default value are left
 * out, as proto3 does, but for those of pb_fixed64().
 */
void pb_varint(struct strbuf *b, unsigned field, uint64_t value);
void pb_fixed32(struct strbuf *b, unsigned field, uint32_t value);
void pb_fixed64(struct strbuf *b, unsigned field, uint64_t value);
void pb_double(struct strbuf *b, unsigned field, double value); /* also 0 */
void pb_bytes(struct strbuf *b, unsigned field, struct slice value);
/* A string must be UTF-8: each byte that is not part of any becomes '?'. */
void pb_text(struct strbuf *b, unsigned field, struct slice value);

/* A message inside: fields between the two are its own.  Closing moves them by some bytes when they are many. */
size_t pb_open(struct strbuf *b, unsigned field);
void pb_close(struct strbuf *b, size_t opened);

/* One field of a message. */
struct pb_field {
	unsigned number;
	uint64_t value;	    /* of a varint or a fixed one */
	struct slice bytes; /* of all others */
};
/* Takes the first field off ${rest}.  ERR_NOT_FOUND: there is none left.  ERR_INVALID: these are no fields. */
enum err pb_next(struct slice *rest, struct pb_field *out);

#endif
