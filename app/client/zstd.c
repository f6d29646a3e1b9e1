/*
 * Blocks of bytes made smaller.  What comes from outside is only unpacked into room of a size that was agreed on, so
 * a small block cannot become a huge one.
 */
#include "client/zstd.h"

#include <stdlib.h>
#include <zstd.h>

enum { LEVEL = 1 };

enum err
zstd_pack(struct slice in, struct strbuf *out)
{
	const size_t room = ZSTD_compressBound(in.len);
	char *packed = malloc(room);
	size_t n;

	if (packed == NULL)
		return ERR_NOMEM;
	n = ZSTD_compress(packed, room, in.ptr, in.len, LEVEL);
	if (!ZSTD_isError(n))
		strbuf_add(out, packed, n);
	free(packed);
	return ZSTD_isError(n) || out->failed ? ERR_NOMEM : ERR_OK;
}

enum err
zstd_unpack(struct slice in, char *out, size_t bytes)
{
	const size_t n = ZSTD_decompress(out, bytes, in.ptr, in.len);

	return ZSTD_isError(n) || n != bytes ? ERR_INVALID : ERR_OK;
}
