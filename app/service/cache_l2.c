/*
 * The second-level cache: copies in Redis.
 *
 * What is fresh is decided by Redis's clock alone, which all hosts share.  The scripts keep nothing but what stands in
 * their keys, so a Redis that was emptied, or that evicts, only forgets.
 */
#include "service/cache_l2.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "client/redis.h"
#include "service/copy_envelope.h"
#include "service/purges.h"
#include "service/shards.h"

enum {
	KEY_BYTES_MAX = 512,
	NUMBER_BYTES = 24,
	ENVELOPE_SPARE = 4096,
	STORED_BYTES_MAX =
	    1 << 20, /* packed: a larger one might not come in REDIS_TIMEOUT, and who misses
				     * that suspends the shard for everybody */
};

/*
 * KEYS copy, lock, generations, positions; ARGV who asks, ms of its lock, ms for which a copy must be fresh, slots.
 * A slot that is missing begins now.  The head's places are those of service/copy_envelope.h.
 */
static const struct redis_script get_script = { .name = "l2-get",
	.repeatable = true,
	.text =
	    "local time = redis.call('TIME')\n"
	    "local now = time[1] * 1000000 + time[2]\n"
	    "local born = string.format('%.0f', now)\n"
	    "local found = redis.call('HMGET', KEYS[3], unpack(ARGV, 4))\n"
	    "for i = 1, #ARGV - 3 do\n"
	    "  if not found[i] then\n"
	    "    redis.call('HSET', KEYS[3], ARGV[i + 3], born)\n"
	    "    found[i] = born\n"
	    "  end\n"
	    "end\n"
	    "local generations = table.concat(found, ' ')\n"
	    "local copy = redis.call('GET', KEYS[1])\n"
	    "local spare = ''\n"
	    "if copy and #copy >= 56 and string.sub(copy, 1, 3) == 'wc\\2' and\n"
	    "    string.sub(copy, 57, 56 + struct.unpack('<I2', copy, 49)) == generations then\n"
	    "  local stored, fresh, stale, err = struct.unpack('<i8i8i8i8', copy, 9)\n"
	    "  local age = (now - stored) / 1000\n"
	    "  local left, least = fresh - age, tonumber(ARGV[3])\n"
	    "  if age >= -1000 and left > math.max(least, 0) then return {born, 'fresh', copy} "
	    "end\n"
	    "  if left <= 0 and left > -stale and least < 0 then return {born, 'stale', copy} end\n"
	    "  if age >= -1000 and left > -math.max(stale, err) then spare = copy end\n"
	    "end\n"
	    "local holder = redis.call('GET', KEYS[2])\n"
	    "if holder and holder ~= ARGV[1] then return {born, 'wait', ''} end\n"
	    "redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])\n"
	    "local positions = redis.call('HMGET', KEYS[4], 'all', unpack(ARGV, 4))\n"
	    "local newest = 0\n"
	    "for i = 1, #ARGV - 2 do newest = math.max(newest, tonumber(positions[i] or '0')) end\n"
	    "return {born, 'lead', spare, generations, string.format('%.0f', newest)}\n" };

/*
 * KEYS as above; ARGV who asks, the generations before its query, the copy ("" when there is none), its ms, slots.
 * The lock goes in any case, also when there is no memory for the copy.
 */
static const struct redis_script put_script = { .name = "l2-put",
	.repeatable = true,
	.text = "local kept = 0\n"
		"if ARGV[3] ~= '' then\n"
		"  local found = redis.call('HMGET', KEYS[3], unpack(ARGV, 5))\n"
		"  for i = 1, #ARGV - 4 do found[i] = found[i] or '' end\n"
		"  if table.concat(found, ' ') == ARGV[2] then\n"
		"    local done = redis.pcall('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])\n"
		"    kept = done.ok and 1 or 2\n"
		"  end\n"
		"end\n"
		"if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end\n"
		"return kept\n" };

static struct slice
key_text(struct arena *a, const char *kind, const struct endpoint *e, const char *digest)
{
	return slice_of(
	    arena_printf(a, "weir:%s:%.*s:%s", kind, (int)e->name.len, e->name.ptr, digest));
}

/* The name is for people: `redis-cli monitor` shows what is read. */
static enum err
make_keys(const struct endpoint *e, struct slice key, struct arena *a, struct l2_fill *f)
{
	uint8_t digest[DIGEST_BYTES];
	char hex[2 * DIGEST_BYTES + 1];

	if (e->name.len > KEY_BYTES_MAX)
		return ERR_TOO_LARGE;
	digest_sha256(&key, 1, digest);
	hex_encode(digest, sizeof digest, hex);
	f->keys[0] = key_text(a, "copy", e, hex);
	f->keys[1] = key_text(a, "lock", e, hex);
	f->keys[2] = SLICE(PURGES_GENERATIONS);
	f->keys[3] = SLICE(PURGES_POSITIONS);
	return f->keys[0].ptr == NULL || f->keys[1].ptr == NULL ? ERR_NOMEM : ERR_OK;
}

static enum err
make_slots(const struct endpoint *e, const struct value *values, struct arena *a, struct l2_fill *f)
{
	struct slice tags[CACHE_MAX_TAGS];
	enum err rc = cache_tag_texts(e, values, a, tags, &f->slot_count);

	for (size_t i = 0; i < f->slot_count && rc == ERR_OK; i++) {
		f->slots[i] = slice_of(arena_printf(a, "%u", purges_slot(tags[i])));
		rc = f->slots[i].ptr == NULL ? ERR_NOMEM : ERR_OK;
	}
	return rc;
}

enum err
l2_begin(const struct l2 *l, const struct endpoint *e, const struct value *values, struct slice key,
    struct slice tenant, struct arena *a, struct l2_fill *out)
{
	const bool tenants = e->uses_tenant && tenant.len > 0;
	enum err rc;

	*out = (struct l2_fill){ .shard = shards_of(l->shards, tenants ? tenant : key) };
	rc = make_keys(e, key, a, out);
	return rc == ERR_OK ? make_slots(e, values, a, out) : rc;
}

/* ${ms} later than Redis's ${then_us}, by our clock. */
static int64_t
ours(const struct l2_fill *f, int64_t then_us, int64_t ms)
{
	return f->asked_ms - (f->redis_us - then_us) / 1000 + ms;
}

static bool
open_hit(const struct l2 *l, const struct l2_fill *f, struct slice bytes, struct arena *a,
    struct l2_hit *out)
{
	struct copy_envelope e;

	if (bytes.len == 0 || copy_envelope_open(bytes, l->max_block_bytes, a, &e) != ERR_OK)
		return false;
	out->block = e.block;
	out->times = (struct l1_times){
		.stored = ours(f, e.stored_us, 0),
		.fresh_until = ours(f, e.stored_us, e.fresh_ms),
		.stale_until = ours(f, e.stored_us, e.fresh_ms + e.stale_ms),
		.error_until = ours(f, e.stored_us, e.fresh_ms + e.error_ms),
		.cost_us = e.cost_us,
	};
	return true;
}

/* *${broken_out}: what lies there is no copy of ours. */
static enum l2_answer
read_answer(const struct l2 *l, struct l2_fill *f, const struct redis_reply *r, struct arena *a,
    struct l2_hit *out, bool *broken_out)
{
	const struct slice state = redis_reply_text(redis_reply_at(r, 1));
	const struct slice copy = redis_reply_text(redis_reply_at(r, 2));
	const struct slice generations = redis_reply_text(redis_reply_at(r, 3));
	int64_t position;

	f->redis_us = redis_reply_integer(redis_reply_at(r, 0));
	if (slice_eq_cstr(state, "fresh") || slice_eq_cstr(state, "stale")) {
		*broken_out = !open_hit(l, f, copy, a, out);
		if (*broken_out)
			return L2_OFF;
		return slice_eq_cstr(state, "fresh") ? L2_FRESH : L2_STALE;
	}
	if (slice_eq_cstr(state, "wait"))
		return L2_WAIT;
	if (!slice_eq_cstr(state, "lead") || generations.len > COPY_GENERATIONS_MAX)
		return L2_OFF;
	(void)open_hit(l, f, copy, a, out);
	f->generations = arena_slice(a, generations);
	f->position = slice_to_i64(redis_reply_text(redis_reply_at(r, 4)), &position) == ERR_OK
			  ? (uint64_t)position
			  : 0;
	f->leading = f->generations.ptr != NULL;
	return f->leading ? L2_LEAD : L2_OFF;
}

static size_t
add_slots(const struct l2_fill *f, struct slice *args, size_t n)
{
	memcpy(args + n, f->slots, f->slot_count * sizeof *args);
	return n + f->slot_count;
}

static struct slice
number(int64_t n, char text[NUMBER_BYTES])
{
	return (struct slice){ text, i64_write(n, text) };
}

static enum l2_answer
ask(const struct l2 *l, struct l2_fill *f, struct slice *args, size_t arg_count, struct arena *a,
    struct l2_hit *out, bool *broken_out)
{
	struct redis_reply *r = NULL;
	enum l2_answer answer = L2_OFF;

	*broken_out = false;
	if (shards_eval(l->shards, f->shard, &get_script, f->keys, 4, args, arg_count, f->asked_ms,
		&r) == ERR_OK)
		answer = read_answer(l, f, r, a, out, broken_out);
	redis_reply_free(&r);
	return answer;
}

/* Or nobody would ever fill it. */
static bool
drop_broken(const struct l2 *l, const struct l2_fill *f)
{
	const struct slice argv[] = { SLICE("DEL"), f->keys[0] };
	struct redis_reply *r = NULL;
	const enum err rc = shards_call(l->shards, f->shard, argv, 2, f->asked_ms, &r);

	redis_reply_free(&r);
	return rc == ERR_OK;
}

enum l2_answer
l2_get(const struct l2 *l, struct l2_fill *f, int64_t least_ms, int64_t lock_ms, int64_t now_ms,
    struct arena *a, struct l2_hit *hit_out)
{
	char lock_text[NUMBER_BYTES], least_text[NUMBER_BYTES];
	struct slice args[3 + CACHE_MAX_TAGS] = { slice_of(l->host), number(lock_ms, lock_text),
		number(least_ms, least_text) };
	const size_t arg_count = add_slots(f, args, 3);
	enum l2_answer answer;
	bool broken;

	*hit_out = (struct l2_hit){ .block = { 0 } };
	f->leading = false;
	f->asked_ms = now_ms;
	if (!shards_admits(l->shards, f->shard, now_ms))
		return L2_OFF;
	if (purges_are_owed(l->purges, f->shard))
		return L2_OFF; /* what lies there may have been purged, and does not know yet */
	answer = ask(l, f, args, arg_count, a, hit_out, &broken);
	if (broken && drop_broken(l, f))
		answer = ask(l, f, args, arg_count, a, hit_out, &broken);
	return answer;
}

/* ${copy} empty: only gives the lock back. */
static enum err
finish(const struct l2 *l, struct l2_fill *f, struct slice copy, int64_t ttl_ms, int64_t now_ms)
{
	char ttl_text[NUMBER_BYTES];
	struct slice args[4 + CACHE_MAX_TAGS] = { slice_of(l->host), f->generations, copy,
		number(ttl_ms, ttl_text) };
	struct redis_reply *r = NULL;
	enum err rc = shards_eval(
	    l->shards, f->shard, &put_script, f->keys, 3, args, add_slots(f, args, 4), now_ms, &r);

	f->leading = false;
	if (rc == ERR_OK && redis_reply_type(r) != REDIS_INTEGER)
		rc = ERR_UNAVAILABLE;
	if (rc == ERR_OK && redis_reply_integer(r) != 1)
		rc = redis_reply_integer(r) == 0 ? ERR_CONFLICT : ERR_FULL;
	redis_reply_free(&r);
	return rc;
}

enum err
l2_put(const struct l2 *l, struct l2_fill *f, const struct cache_rule *rule, struct slice block,
    int64_t now_ms)
{
	const int64_t old_ms =
	    rule->stale_ms > rule->if_error_ms ? rule->stale_ms : rule->if_error_ms;
	const struct copy_envelope e = { .stored_us = f->redis_us + (now_ms - f->asked_ms) * 1000,
		.fresh_ms = rule->fresh_ms,
		.stale_ms = rule->stale_ms,
		.error_ms = rule->if_error_ms,
		.cost_us = f->cost_us,
		.generations = f->generations,
		.block = block };
	struct strbuf b = STRBUF_INIT(l->max_block_bytes + ENVELOPE_SPARE);
	enum err rc = copy_envelope_write(&e, &b);

	if (rc == ERR_OK && b.len > STORED_BYTES_MAX)
		rc = ERR_TOO_LARGE;
	if (rc == ERR_OK)
		rc = finish(l, f, strbuf_slice(&b), rule->fresh_ms + old_ms, now_ms);
	else
		l2_release(l, f, now_ms);
	strbuf_free(&b);
	return rc;
}

void
l2_release(const struct l2 *l, struct l2_fill *f, int64_t now_ms)
{
	if (f->leading)
		(void)finish(l, f, SLICE(""), 0, now_ms);
}
