/*
 * Buckets and windows in Redis.
 *
 * Lua counts in doubles.  Times are counted from 2023-11-14 and not from 1970, which leaves six bits for parts of a
 * microsecond; so the time of one token need not be whole, and what is stored is told with all its digits.
 */
#include "service/quota_redis.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "client/redis.h"
#include "service/shards.h"

#define NOW                                                                                        \
	"local t = redis.call('TIME')\n"                                                           \
	"local now = (t[1] - 1700000000) * 1000000 + t[2]\n"

/* KEYS: bucket.  ARGV: us of one token, burst, want.  A lead over a full bucket is a clock that was set back. */
static const struct redis_script take_bucket = {
	.name = "limit-token-bucket",
	.text = NOW
	"local token, burst, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])\n"
	"local full = burst * token\n"
	"local lead = tonumber(redis.call('GET', KEYS[1]) or '0') - now\n"
	"lead = math.min(math.max(lead, 0), full)\n"
	"local left = math.max(math.floor((full - lead) / token + 1e-6), 0)\n"
	"local grant = math.min(want, left)\n"
	"if grant > 0 then\n"
	"  lead = lead + grant * token\n"
	"  redis.call('SET', KEYS[1], string.format('%.17g', now + lead),\n"
	"    'PX', string.format('%.0f', math.min(math.ceil(lead / 1000) + 1, 1e15)))\n"
	"end\n"
	"local retry = 0\n"
	"if left - grant < 1 then retry = math.max(math.ceil(token - (full - lead)), 1) end\n"
	"return { grant, left - grant, math.min(retry, 9e15), math.min(math.ceil(lead), 9e15) }\n",
};

/* KEYS: bucket.  ARGV: us of one token, tokens. */
static const struct redis_script give_back = {
	.name = "limit-give-back",
	.text = NOW "local full_at = redis.call('GET', KEYS[1])\n"
		    "if not full_at then return 0 end\n"
		    "local lead = tonumber(full_at) - now - tonumber(ARGV[1]) * tonumber(ARGV[2])\n"
		    "if lead <= 0 then return redis.call('DEL', KEYS[1]) end\n"
		    "redis.call('SET', KEYS[1], string.format('%.17g', now + lead),\n"
		    "  'PX', string.format('%.0f', math.min(math.ceil(lead / 1000) + 1, 1e15)))\n"
		    "return 1\n",
};

/*
 * KEYS: window.  ARGV: us of a window, limit, want.  i: which window, c: its count, p: that of the one before.
 * The wait is until the older count has faded, or, when this window is used up, into the next one, where this
 * one's count fades.
 */
static const struct redis_script take_window = {
	.name = "limit-sliding-window",
	.text = NOW
	"local w, limit, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])\n"
	"local i = math.floor(now / w)\n"
	"local ends = (i + 1) * w - now\n"
	"local s = redis.call('HMGET', KEYS[1], 'i', 'p', 'c')\n"
	"local si, p, c = tonumber(s[1] or '-9'), tonumber(s[2] or '0'), tonumber(s[3] or '0')\n"
	"if si == i + 1 then i, ends = si, w\n" /* the clock was set back a little */
	"elseif si == i - 1 then p, c = c, 0\n"
	"elseif si ~= i then p, c = 0, 0 end\n"
	"local left = math.max(math.floor(limit - p * ends / w - c + 1e-9), 0)\n"
	"local grant = math.min(want, left)\n"
	"if grant > 0 then\n"
	"  c = c + grant\n"
	"  redis.call('HSET', KEYS[1], 'i', string.format('%.0f', i), 'p', p, 'c', c)\n"
	"  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((ends + w) / 1000)))\n"
	"end\n"
	"local retry = 0\n"
	"if left - grant < 1 then\n"
	"  if c < limit then retry = ends - (limit - c - 1) * w / p\n"
	"  else retry = ends + w - (limit - 1) * w / c end\n"
	"  retry = math.max(math.ceil(retry), 1)\n"
	"end\n"
	"return { grant, left - grant, retry, math.ceil(ends) }\n",
};

/* KEYS: the hosts.  ARGV: who, ms after which one is gone. */
static const struct redis_script beat = {
	.name = "limit-heartbeat",
	.text = NOW "local ms = math.floor(now / 1000)\n"
		    "redis.call('ZADD', KEYS[1], ms, ARGV[1])\n"
		    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - ARGV[2])\n"
		    "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"
		    "return redis.call('ZCARD', KEYS[1])\n",
};

enum { FIGURE_BYTES = 32 };

struct figure {
	char text[FIGURE_BYTES];
};

static struct slice
whole(uint64_t n, struct figure *f)
{
	return (struct slice){ f->text,
		(size_t)snprintf(f->text, sizeof f->text, "%llu", (unsigned long long)n) };
}

static struct slice
token_us(const struct quota_bucket *b, struct figure *f)
{
	const double us = (double)b->window_us / (double)b->quota;

	return (struct slice){ f->text, (size_t)snprintf(f->text, sizeof f->text, "%.17g", us) };
}

/* What is no answer to us: a script that failed, a key of somebody else's. */
static enum err
strange(const struct redis_reply *reply)
{
	static struct log_gate gate;
	uint64_t held;

	if (log_gate_open(&gate, clock_mono_ms(), &held))
		log_warn("limit_answer_strange", LOG_SLICE("answer", redis_reply_text(reply)),
		    LOG_INT("suppressed", held));
	return ERR_IO;
}

static enum err
read_grant(const struct redis_reply *reply, uint64_t want, struct quota_grant *out)
{
	int64_t figures[4];

	if (redis_reply_count(reply) != 4)
		return strange(reply);
	for (size_t i = 0; i < 4; i++) {
		figures[i] = redis_reply_integer(redis_reply_at(reply, i));
		if (figures[i] < 0)
			return ERR_IO;
	}
	*out = (struct quota_grant){ (uint64_t)figures[0], (uint64_t)figures[1], figures[2],
		figures[3] };
	return out->granted <= want ? ERR_OK : ERR_IO;
}

enum err
quota_redis_take(struct shards *s, const struct quota_bucket *b, uint64_t want, int64_t now_ms,
    struct quota_grant *out)
{
	struct figure figures[3];
	const struct slice args[] = {
		b->sliding ? whole((uint64_t)b->window_us, &figures[0]) : token_us(b, &figures[0]),
		whole(b->sliding ? b->quota : b->burst, &figures[1]),
		whole(want, &figures[2]),
	};
	struct redis_reply *reply;
	enum err rc = shards_eval(s, b->shard, b->sliding ? &take_window : &take_bucket, &b->key, 1,
	    args, 3, now_ms, &reply);

	*out = (struct quota_grant){ 0 };
	if (rc == ERR_OK)
		rc = read_grant(reply, want, out);
	redis_reply_free(&reply);
	return rc;
}

enum err
quota_redis_give_back(
    struct shards *s, const struct quota_bucket *b, uint64_t tokens, int64_t now_ms)
{
	struct figure figures[2];
	const struct slice args[] = { token_us(b, &figures[0]), whole(tokens, &figures[1]) };
	struct redis_reply *reply;
	const enum err rc =
	    shards_eval(s, b->shard, &give_back, &b->key, 1, args, 2, now_ms, &reply);

	redis_reply_free(&reply);
	return rc;
}

enum err
quota_redis_beat(struct shards *s, size_t shard, const char host[QUOTA_HOST_BYTES], int64_t now_ms,
    uint64_t *hosts_out)
{
	struct figure gone;
	const struct slice key = SLICE("weir:hosts");
	const struct slice args[] = { { host, QUOTA_HOST_BYTES },
		whole(QUOTA_HOST_GONE_MS, &gone) };
	struct redis_reply *reply;
	enum err rc = shards_eval(s, shard, &beat, &key, 1, args, 2, now_ms, &reply);
	const int64_t hosts = redis_reply_integer(reply);

	if (rc == ERR_OK && hosts < 1)
		rc = strange(reply);
	if (rc == ERR_OK)
		*hosts_out = (uint64_t)hosts;
	redis_reply_free(&reply);
	return rc;
}
