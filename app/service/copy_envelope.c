/*
 * A stored copy as it lies in Redis.
 */
#include "service/copy_envelope.h"

#include <stdbool.h>

#include "base/hash.h"
#include "client/zstd.h"

enum {
	VERSION = 2, /* 1 had no cost */
	FLAG_PACKED = 1,
	PACK_FROM_BYTES = 1024, /* smaller ones gain less than they cost */
	AT_RAW = 4,
	AT_TIMES = 8,
	TIMES = 4,
	AT_HASH = 40,
	AT_GENERATIONS = 48,
	AT_COST = 50,
	HEAD_BYTES = 56,
	HASH_SEED = 0x6c32, /* the same for all hosts */
};

static const int64_t longest_ms = INT64_C(1)
				  << 40; /* 34 years: sums of three stay far from the end */

static void
put_number(char *at, uint64_t n, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (char)(n >> (8 * i) & 0xff);
}

static uint64_t
get_number(const char *at, size_t bytes)
{
	uint64_t n = 0;

	for (size_t i = 0; i < bytes; i++)
		n |= (uint64_t)(unsigned char)at[i] << (8 * i);
	return n;
}

/* Of all bytes but the hash itself. */
static uint64_t
hash_of(const char *bytes, size_t len)
{
	const uint64_t head = hash64(HASH_SEED, bytes, AT_HASH);

	return hash64(head, bytes + AT_GENERATIONS, len - AT_GENERATIONS);
}

static void
add_block(const struct copy_envelope *e, struct strbuf *out, size_t head_at)
{
	const size_t from = out->len;

	if (e->block.len >= PACK_FROM_BYTES && zstd_pack(e->block, out) == ERR_OK &&
	    out->len - from < e->block.len) {
		out->ptr[head_at + 3] |= FLAG_PACKED;
		return;
	}
	if (out->failed)
		return;
	out->len = from;
	strbuf_add_slice(out, e->block);
}

enum err
copy_envelope_write(const struct copy_envelope *e, struct strbuf *out)
{
	const int64_t times[TIMES] = { e->stored_us, e->fresh_ms, e->stale_ms, e->error_ms };
	const size_t at = out->len;
	char head[HEAD_BYTES] = { 'w', 'c', VERSION };

	if (e->generations.len > COPY_GENERATIONS_MAX || e->block.len > UINT32_MAX)
		return ERR_TOO_LARGE;
	put_number(head + AT_RAW, e->block.len, 4);
	for (size_t i = 0; i < TIMES; i++)
		put_number(head + AT_TIMES + 8 * i, (uint64_t)times[i], 8);
	put_number(head + AT_GENERATIONS, e->generations.len, 2);
	put_number(head + AT_COST, e->cost_us, 4);
	strbuf_add(out, head, sizeof head);
	strbuf_add_slice(out, e->generations);
	if (!out->failed)
		add_block(e, out, at);
	if (out->failed)
		return ERR_NOMEM;
	put_number(out->ptr + at + AT_HASH, hash_of(out->ptr + at, out->len - at), 8);
	return ERR_OK;
}

static bool
is_whole(struct slice bytes)
{
	return bytes.len >= HEAD_BYTES && bytes.ptr[0] == 'w' && bytes.ptr[1] == 'c' &&
	       bytes.ptr[2] == VERSION && (bytes.ptr[3] & ~FLAG_PACKED) == 0 &&
	       get_number(bytes.ptr + AT_HASH, 8) == hash_of(bytes.ptr, bytes.len);
}

static bool
read_times(const char *head, struct copy_envelope *out)
{
	int64_t *const to[TIMES] = { &out->stored_us, &out->fresh_ms, &out->stale_ms,
		&out->error_ms };

	for (size_t i = 0; i < TIMES; i++)
		*to[i] = (int64_t)get_number(head + AT_TIMES + 8 * i, 8);
	out->cost_us = (uint32_t)get_number(head + AT_COST, 4);
	for (size_t i = 1; i < TIMES; i++)
		if (*to[i] < 0 || *to[i] > longest_ms)
			return false;
	return out->stored_us >= 0;
}

static enum err
unpack(struct slice stored, bool packed, size_t raw_bytes, struct arena *a, struct slice *out)
{
	char *raw;

	if (!packed) {
		*out = arena_slice(a, stored);
		if (stored.len != raw_bytes)
			return ERR_INVALID;
		return out->ptr == NULL ? ERR_NOMEM : ERR_OK;
	}
	raw = arena_alloc(a, raw_bytes);
	*out = (struct slice){ raw, raw_bytes };
	return raw == NULL ? ERR_NOMEM : zstd_unpack(stored, raw, raw_bytes);
}

enum err
copy_envelope_open(struct slice bytes, size_t max_bytes, struct arena *a, struct copy_envelope *out)
{
	size_t generations, raw_bytes;
	bool packed;

	*out = (struct copy_envelope){ .stored_us = 0 };
	if (!is_whole(bytes) || !read_times(bytes.ptr, out))
		return ERR_INVALID;
	generations = (size_t)get_number(bytes.ptr + AT_GENERATIONS, 2);
	raw_bytes = (size_t)get_number(bytes.ptr + AT_RAW, 4);
	packed = (bytes.ptr[3] & FLAG_PACKED) != 0;
	if (generations > COPY_GENERATIONS_MAX || generations > bytes.len - HEAD_BYTES ||
	    raw_bytes > max_bytes)
		return ERR_INVALID;
	out->generations = (struct slice){ bytes.ptr + HEAD_BYTES, generations };
	bytes.ptr += HEAD_BYTES + generations;
	bytes.len -= HEAD_BYTES + generations;
	return unpack(bytes, packed, raw_bytes, a, &out->block);
}
