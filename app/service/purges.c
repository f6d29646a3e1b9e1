/*
 * Purges that every host hears of: the telling.
 */
#include "service/purges.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "client/redis.h"
#include "policy/l1.h"
#include "service/purges_room.h"

enum { SLOT_SEED = 0x70757267, NAME_SEED = 0x73686172 };

/*
 * KEYS generations, channel, positions; ARGV what is told, the position, slots (none: all of them).  Positions first.  The slots go before they come back: without
 * memory for a write Redis still deletes, and a slot that is missing begins now.
 */
static const struct redis_script purge_script = { .name = "purge",
	.text = "local time = redis.call('TIME')\n"
		"local before = redis.call('HGET', KEYS[1], 'last') or '0'\n"
		"local last = string.format('%.0f', math.max(time[1] * 1000000 + time[2], before + "
		"1))\n"
		"local function raise(slot)\n"
		"  local known = redis.call('HGET', KEYS[3], slot)\n"
		"  if tonumber(known or '0') >= tonumber(ARGV[2]) then return end\n"
		"  redis.pcall('HSET', KEYS[3], slot, ARGV[2])\n"
		"  redis.pcall('EXPIRE', KEYS[3], 86400)\n"
		"end\n"
		"if #ARGV == 2 then\n"
		"  raise('all')\n"
		"  redis.call('DEL', KEYS[1])\n"
		"end\n"
		"for i = 3, #ARGV do\n"
		"  raise(ARGV[i])\n"
		"  redis.call('HDEL', KEYS[1], ARGV[i])\n"
		"  redis.pcall('HSET', KEYS[1], ARGV[i], last)\n"
		"end\n"
		"redis.pcall('HSET', KEYS[1], 'last', last)\n"
		"redis.call('PUBLISH', KEYS[2], '2 ' .. before .. ' ' .. last .. ' ' .. ARGV[2] .. "
		"' ' .. "
		"ARGV[1])\n"
		"return last\n" };

size_t
purges_shared_size(void)
{
	return sizeof(struct purges_shared);
}

void
purges_shared_init(void *mem)
{
	memset(mem, 0, sizeof(struct purges_shared));
}

unsigned
purges_slot(struct slice tag)
{
	return (unsigned)(hash64(SLOT_SEED, tag.ptr, tag.len) % PURGES_SLOTS);
}

/* The row of ${name}, or a free one that becomes it; NULL when there is none. */
static struct purges_row *
row_of(struct purges_shared *s, const char *url)
{
	const uint64_t name = hash64(NAME_SEED, url, strlen(url)) | 1;

	for (size_t i = 0; i < PURGES_ROWS; i++) {
		uint64_t seen = 0;

		if (atomic_compare_exchange_strong(&s->rows[i].name, &seen, name) || seen == name)
			return &s->rows[i];
	}
	return NULL;
}

/* Channels know no databases, so theirs is in the name: "redis://host:6379/3". */
static void
name_channel(struct purges *p, size_t shard)
{
	const char *url = shards_url(p->o.shards, shard);
	const char *slash = strrchr(url, '/');
	int64_t database = 0;

	if (strncmp(url, "unix:", 5) == 0 || slash == NULL ||
	    slice_to_i64(slice_of(slash + 1), &database) != ERR_OK)
		database = 0;
	(void)snprintf(
	    p->channels[shard], sizeof p->channels[shard], "weir:purges:%lld", (long long)database);
}

static void
forget(struct purges *p)
{
	p->texts.len = 0;
	p->texts.failed = false;
	p->count = 0;
	p->all = false;
	p->position = 0;
	memset(p->seen, 0, sizeof p->seen);
}

enum err
purges_open(const struct purges_options *o, struct purges **out)
{
	struct purges *p = calloc(1, sizeof *p);

	*out = p;
	if (p == NULL)
		return ERR_NOMEM;
	p->o = *o;
	p->texts = STRBUF_INIT(PURGES_TEXT_MAX);
	for (size_t i = 0; i < shards_count(o->shards); i++) {
		p->rows[i] = row_of(o->shared, shards_url(o->shards, i));
		name_channel(p, i);
		if (p->rows[i] == NULL) {
			purges_close(out);
			return ERR_FULL;
		}
	}
	return ERR_OK;
}

bool
purges_are_owed(const struct purges *p, size_t shard)
{
	const struct purges_row *row = p->rows[shard];
	uint64_t any = 0;

	for (size_t i = 0; i < PURGES_WORDS; i++)
		any |= atomic_load_explicit(&row->owed[i], memory_order_acquire) |
		       atomic_load_explicit(&row->taken[i], memory_order_acquire);
	return any != 0;
}

/*
 * What gathers.
 */
static bool
is_new(struct purges *p, struct slice tag)
{
	const uint64_t hash = hash64(p->o.seed, tag.ptr, tag.len) | 1;
	size_t at = (size_t)(hash >> 32) % (2 * PURGES_BATCH);

	while (p->seen[at] != 0 && p->seen[at] != hash)
		at = (at + 1) % (2 * PURGES_BATCH);
	if (p->seen[at] == hash)
		return false;
	p->seen[at] = hash;
	p->count++;
	return true;
}

void
purges_add(struct purges *p, const struct slice *tag, uint64_t position)
{
	if (position > p->position)
		p->position = position;
	if (tag == NULL) {
		p->all = true;
		return;
	}
	if (p->count == PURGES_BATCH) {
		(void)purges_send(p);
		p->position = position;
	}
	if (p->all || !is_new(p, *tag))
		return;
	strbuf_addf(&p->texts, "%zu:", tag->len);
	strbuf_add_slice(&p->texts, *tag);
	strbuf_add_char(&p->texts, ',');
	if (p->texts.failed)
		p->all = true; /* too much rather than too little */
}

/*
 * The telling.
 */
enum { ARGS_MAX = PURGES_SLOTS + 2 };

struct slots_text {
	struct slice args[ARGS_MAX];
	char position[I64_BYTES];
	char numbers[PURGES_SLOTS][I64_BYTES];
};

static size_t
add_slots(struct slots_text *t, const uint64_t slots[PURGES_WORDS], size_t n)
{
	for (unsigned i = 0; i < PURGES_SLOTS; i++) {
		if ((slots[i / 64] >> i % 64 & 1) == 0)
			continue;
		t->args[n].len = i64_write((int64_t)i, t->numbers[i]);
		t->args[n++].ptr = t->numbers[i];
	}
	return n;
}

enum err
purges_tell(struct purges *p, size_t shard, const uint64_t slots[PURGES_WORDS], uint64_t position,
    struct slice payload, int64_t now_ms)
{
	const struct slice keys[] = { SLICE(PURGES_GENERATIONS), slice_of(p->channels[shard]),
		SLICE(PURGES_POSITIONS) };
	struct slots_text *t = malloc(sizeof *t);
	struct redis_reply *r = NULL;
	size_t n = 2;
	enum err rc = ERR_NOMEM;

	if (t == NULL)
		return rc;
	t->args[0] = payload;
	t->args[1] = (struct slice){ t->position, i64_write((int64_t)position, t->position) };
	if (slots != NULL)
		n = add_slots(t, slots, n);
	rc = shards_eval(p->o.shards, shard, &purge_script, keys, 3, t->args, n, now_ms, &r);
	if (rc == ERR_OK && redis_reply_type(r) == REDIS_ERROR)
		rc = ERR_UNAVAILABLE;
	redis_reply_free(&r);
	free(t);
	return rc;
}

/* Debts lie in the segment, which may go before they are paid; a file says that there were some. */
static void
mark(const struct purges *p)
{
	const int fd = openat(
	    p->o.state_dir_fd, PURGES_OWED_FILE, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd == -1)
		return;
	(void)close(fd);
	(void)fsync(p->o.state_dir_fd);
}

bool
purges_marked(const struct purges *p)
{
	return faccessat(p->o.state_dir_fd, PURGES_OWED_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool
any_owed(const struct purges *p)
{
	for (size_t i = 0; i < shards_count(p->o.shards); i++)
		if (purges_are_owed(p, i))
			return true;
	return false;
}

void
purges_unmark(const struct purges *p)
{
	if (any_owed(p))
		return;
	(void)unlinkat(p->o.state_dir_fd, PURGES_OWED_FILE, 0);
	if (any_owed(p)) /* owed in between, and its mark is what we took */
		mark(p);
}

void
purges_owe(struct purges *p, size_t shard, const uint64_t slots[PURGES_WORDS])
{
	const bool more = purges_are_owed(p, shard);

	for (size_t i = 0; i < PURGES_WORDS; i++)
		atomic_fetch_or(&p->rows[shard]->owed[i], slots == NULL ? UINT64_MAX : slots[i]);
	if (!purges_marked(p))
		mark(p);
	if (!more)
		log_warn("purge_owed", LOG_STR("shard", shards_url(p->o.shards, shard)),
		    LOG_STR("then", "no copies are read from it until it was told"));
}

/* Takes the next netstring off ${rest}. */
static struct slice
next_text(struct slice *rest)
{
	const struct slice length = slice_cut(rest, ':');
	struct slice text = { rest->ptr, 0 };
	int64_t n = 0;

	(void)slice_to_i64(length, &n);
	text.len = (size_t)n;
	rest->ptr += text.len + 1;
	rest->len -= text.len + 1;
	return text;
}

static void
slots_of(const struct purges *p, uint64_t slots_out[PURGES_WORDS])
{
	struct slice rest = strbuf_slice(&p->texts);

	memset(slots_out, 0, PURGES_WORDS * sizeof *slots_out);
	while (rest.len > 0) {
		const unsigned slot = purges_slot(next_text(&rest));

		slots_out[slot / 64] |= UINT64_C(1) << slot % 64;
	}
}

static void
purge_here(struct purges *p)
{
	struct slice rest = strbuf_slice(&p->texts), tag;

	if (p->all)
		l1_purge_all(p->o.l1);
	while (!p->all && rest.len > 0) {
		tag = next_text(&rest);
		l1_purge(p->o.l1, hash64(p->o.seed, tag.ptr, tag.len));
	}
}

enum err
purges_send(struct purges *p)
{
	uint64_t bits[PURGES_WORDS];
	const uint64_t *slots = p->all ? NULL : bits;
	const struct slice payload = p->all ? SLICE("!") : strbuf_slice(&p->texts);
	enum err rc = ERR_OK;

	if (!p->all && p->count == 0)
		return ERR_OK;
	if (!p->all)
		slots_of(p, bits);
	for (size_t i = 0; i < shards_count(p->o.shards); i++) {
		if (purges_tell(p, i, slots, p->position, payload, clock_mono_ms()) == ERR_OK)
			continue;
		purges_owe(p, i, slots);
		rc = ERR_UNAVAILABLE;
	}
	purge_here(p);
	forget(p);
	return rc;
}

void
purges_close(struct purges **pp)
{
	struct purges *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	if (p->listening) {
		atomic_store(&p->stop, 1);
		(void)pthread_join(p->listener, NULL);
	}
	strbuf_free(&p->texts);
	free(p);
}
