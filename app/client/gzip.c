/*
 * Bodies made smaller for who understands only gzip: what we store ourselves is packed by zstd, next door.
 */
#include "client/gzip.h"

#include <stdlib.h>
#include <zlib.h>

enum { WINDOW_BITS_GZIP = 15 + 16, MEMORY_LEVEL = 8 };

enum err
gzip_pack(struct slice in, struct strbuf *out)
{
	z_stream z = { 0 };
	unsigned char *packed;
	size_t room;
	int rc;

	if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, WINDOW_BITS_GZIP, MEMORY_LEVEL,
		Z_DEFAULT_STRATEGY) != Z_OK)
		return ERR_NOMEM;
	room = deflateBound(&z, in.len);
	packed = malloc(room);
	z.next_in = (unsigned char *)(uintptr_t)in.ptr; /* zlib does not write there */
	z.avail_in = (unsigned)in.len;
	z.next_out = packed;
	z.avail_out = (unsigned)room;
	rc = packed == NULL ? Z_MEM_ERROR : deflate(&z, Z_FINISH);
	if (rc == Z_STREAM_END)
		strbuf_add(out, packed, z.total_out);
	(void)deflateEnd(&z);
	free(packed);
	return rc != Z_STREAM_END || out->failed ? ERR_NOMEM : ERR_OK;
}
