/*
 * The kinds of settings: how the text of each is read, and what it should have been.
 *
 * One row a kind; a kind never logs and never reports, it only judges.  Ranges come from the table of
 * settings, not from here.
 */
#include "runtime/config_value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/un.h>

#include "base/engines.h"
#include "base/units.h"
#include "http/address.h"
#include "service/pg_url.h"
#include "service/shard_url.h"

enum { UNIX_PATH_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };

struct reading {
	const struct config_info *info;
	const char *base_dir;
	struct arena *a;
	void *field;
	const char *resolved;
};

struct kind {
	enum config_verdict (*parse)(struct reading *r, struct slice text);
	const char *(*expected)(const struct config_info *info, struct arena *a);
};

static enum config_verdict
set_text(struct reading *r, const char *text)
{
	if (text == NULL)
		return CONFIG_BAD;
	r->resolved = text;
	*(const char **)r->field = text;
	return CONFIG_GOOD;
}

static enum config_verdict
set_number(struct reading *r, int64_t n)
{
	if (n < r->info->min || n > r->info->max)
		return CONFIG_BAD;
	*(int64_t *)r->field = n;
	return CONFIG_GOOD;
}

/* ${path} from the folder that relative ones count from; NULL when it is no path. */
static const char *
absolute(struct reading *r, struct slice path)
{
	const size_t dir_len = *path.ptr == '/' ? 0 : strlen(r->base_dir) + 1;

	if (path.len == 0 || path.len + dir_len >= PATH_MAX)
		return NULL;
	if (dir_len == 0)
		return arena_copy(r->a, path);
	return arena_printf(r->a, "%s%s%.*s", r->base_dir,
	    r->base_dir[dir_len - 2] == '/' ? "" : "/", (int)path.len, path.ptr);
}

static enum config_verdict
parse_path(struct reading *r, struct slice text)
{
	return set_text(r, absolute(r, text));
}

static enum config_verdict
parse_paths(struct reading *r, struct slice text)
{
	const char *all = NULL;

	while (text.ptr != NULL) {
		const struct slice one = slice_cut(&text, ':');
		const char *path = one.len == 0 ? NULL : absolute(r, one);

		if (path == NULL)
			return CONFIG_BAD;
		all = all == NULL ? path : arena_printf(r->a, "%s:%s", all, path);
	}
	return set_text(r, all);
}

/* Cuts ADDRESS:PORT at its last colon; brackets around an IPv6 address are taken off. */
static bool
split_host(struct slice text, struct slice *host_out, struct slice *port_out)
{
	size_t at = text.len;

	while (at > 0 && text.ptr[at - 1] != ':')
		at--;
	if (at == 0)
		return false;
	*host_out = (struct slice){ text.ptr, at - 1 };
	*port_out = (struct slice){ text.ptr + at, text.len - at };
	if (host_out->len > 2 && *host_out->ptr == '[' && host_out->ptr[host_out->len - 1] == ']')
		*host_out = (struct slice){ host_out->ptr + 1, host_out->len - 2 };
	else if (memchr(host_out->ptr, ':', host_out->len) != NULL)
		return false; /* which colon is meant? */
	return host_out->len > 0;
}

static enum config_verdict
parse_address(struct reading *r, struct slice text)
{
	struct slice host, port;
	const char *path;
	int64_t n;

	if (slice_starts(text, "unix:")) {
		path = absolute(r, (struct slice){ text.ptr + 5, text.len - 5 });
		if (path == NULL || strlen(path) > UNIX_PATH_MAX)
			return CONFIG_BAD;
		return set_text(r, arena_printf(r->a, "unix:%s", path));
	}
	if (!split_host(text, &host, &port) || slice_to_i64(port, &n) != ERR_OK || n < 0 ||
	    n > 65535)
		return CONFIG_BAD;
	return set_text(r, arena_copy(r->a, text));
}

static enum config_verdict
parse_base_path(struct reading *r, struct slice text)
{
	while (text.len > 0 && text.ptr[text.len - 1] == '/')
		text.len--;
	if (text.len == 0) /* "/" is the root: nothing to take off */
		return set_text(r, "");
	if (*text.ptr != '/' || memchr(text.ptr, '?', text.len) != NULL ||
	    memchr(text.ptr, '#', text.len) != NULL ||
	    memmem(text.ptr, text.len, "//", 2) != NULL || !utf8_valid(text, NULL))
		return CONFIG_BAD;
	return set_text(r, arena_copy(r->a, text));
}

static enum config_verdict
parse_group(struct reading *r, struct slice text)
{
	const char *name = arena_copy(r->a, text);

	return set_text(r, name != NULL && getgrnam(name) != NULL ? name : NULL);
}

static enum config_verdict
parse_database(struct reading *r, struct slice text)
{
	struct pg_url urls[PG_URLS_MAX];
	const char *path, *why;
	size_t count;

	if (!ENGINE_POSTGRESQL && pg_url_fits(text))
		return CONFIG_ABSENT;
	if (pg_url_fits(text)) {
		if (pg_urls_parse(text, r->a, urls, &count, &why) != ERR_OK)
			return CONFIG_BAD;
		return set_text(r, arena_copy(r->a, text));
	}
	if (!slice_starts(text, "sqlite:"))
		return CONFIG_BAD;
	path = absolute(r, (struct slice){ text.ptr + 7, text.len - 7 });
	return set_text(r, path == NULL ? NULL : arena_printf(r->a, "sqlite:%s", path));
}

/* Each path made absolute, then all read as one: what Redis makes of it is not known here. */
static enum config_verdict
parse_redis(struct reading *r, struct slice text)
{
	struct shard_url urls[SHARD_URLS_MAX];
	const char *all = NULL, *why;
	size_t count;

	while (text.ptr != NULL) {
		const struct slice one = slice_trim(slice_cut(&text, ','));
		const char *piece = arena_copy(r->a, one);

		if (slice_starts(one, "unix:") && one.len > 5) {
			piece = absolute(r, (struct slice){ one.ptr + 5, one.len - 5 });
			if (piece == NULL)
				return CONFIG_BAD;
			piece = arena_printf(r->a, "unix:%s", piece);
		}
		all = all == NULL ? piece : arena_printf(r->a, "%s,%s", all, piece);
	}
	if (all == NULL || shard_urls_parse(slice_of(all), r->a, urls, &count, &why) != ERR_OK)
		return CONFIG_BAD;
	return set_text(r, all);
}

static enum config_verdict
parse_brokers(struct reading *r, struct slice text)
{
	struct slice rest = text, host, port;
	int64_t n;

	if (!ENGINE_KAFKA)
		return CONFIG_ABSENT;
	while (rest.ptr != NULL)
		if (!split_host(slice_trim(slice_cut(&rest, ',')), &host, &port) ||
		    slice_to_i64(port, &n) != ERR_OK || n < 1 || n > 65535)
			return CONFIG_BAD;
	return set_text(r, arena_copy(r->a, text));
}

static enum config_verdict
parse_topic(struct reading *r, struct slice text)
{
	bool good = text.len <= (size_t)r->info->max && *text.ptr != '.';

	for (size_t i = 0; i < text.len; i++)
		good = good &&
		       (isalnum((unsigned char)text.ptr[i]) || strchr("._-", text.ptr[i]) != NULL);
	return set_text(r, good ? arena_copy(r->a, text) : NULL);
}

static enum config_verdict
parse_cidrs(struct reading *r, struct slice text)
{
	struct cidr_set *set = r->field;
	struct cidr *list;
	struct slice bad;

	if (cidr_list_parse(text, r->a, &list, &set->count, &bad) != ERR_OK)
		return CONFIG_BAD;
	set->list = list;
	return CONFIG_GOOD;
}

static enum config_verdict
parse_int(struct reading *r, struct slice text)
{
	int64_t n;

	if (strcmp(r->info->unit, "%") == 0 && text.ptr[text.len - 1] == '%')
		text.len--;
	return slice_to_i64(text, &n) == ERR_OK ? set_number(r, n) : CONFIG_BAD;
}

static enum config_verdict
parse_size(struct reading *r, struct slice text)
{
	int64_t n;

	return units_bytes(text, &n) == ERR_OK ? set_number(r, n) : CONFIG_BAD;
}

static int64_t
bare_ms(const struct config_info *info)
{
	return strcmp(info->unit, "s") == 0 ? 1000 : 1;
}

static enum config_verdict
parse_duration(struct reading *r, struct slice text)
{
	int64_t n;

	if (units_duration_ms(text, bare_ms(r->info), &n) != ERR_OK)
		return CONFIG_BAD;
	return set_number(r, n);
}

static enum config_verdict
parse_mode(struct reading *r, struct slice text)
{
	int64_t n = 0;

	if (text.len == 0 || text.len > 5)
		return CONFIG_BAD;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '7')
			return CONFIG_BAD;
		n = n * 8 + (text.ptr[i] - '0');
	}
	return set_number(r, n);
}

static enum config_verdict
parse_choice(struct reading *r, struct slice text)
{
	struct slice rest = slice_of(r->info->unit);

	for (int64_t place = 0; rest.ptr != NULL; place++)
		if (slice_eq(slice_cut(&rest, '|'), text)) {
			*(int64_t *)r->field = place;
			return CONFIG_GOOD;
		}
	return CONFIG_BAD;
}

/*
 * What people should have written.
 */
static const char *
expect_path(const struct config_info *info, struct arena *a)
{
	(void)info;
	(void)a;
	return "a path";
}

static const char *
expect_paths(const struct config_info *info, struct arena *a)
{
	(void)info;
	(void)a;
	return "folders, separated by ':'";
}

static const char *
expect_address(const struct config_info *info, struct arena *a)
{
	(void)info;
	return arena_printf(
	    a, "unix:PATH (at most %d bytes, counted from /) or HOST:PORT", (int)UNIX_PATH_MAX);
}

static const char *
expect_base_path(const struct config_info *info, struct arena *a)
{
	(void)info;
	(void)a;
	return "a path such as /app";
}

static const char *
expect_group(const struct config_info *info, struct arena *a)
{
	(void)info;
	(void)a;
	return "the name of a group of this host";
}

static const char *
expect_database(const struct config_info *info, struct arena *a)
{
	(void)info;
	(void)a;
	return ENGINE_POSTGRESQL ? "sqlite:PATH or postgres://user:pass@host:port/database"
				 : "sqlite:PATH";
}

static const char *
expect_redis(const struct config_info *info, struct arena *a)
{
	(void)info;
	(void)a;
	return "up to 16 of redis://[user:pass@]host:port/db or unix:PATH, separated by commas and "
	       "each once";
}

static const char *
expect_brokers(const struct config_info *info, struct arena *a)
{
	(void)info;
	(void)a;
	return ENGINE_KAFKA ? "HOST:PORT, several separated by commas" : "nothing";
}

static const char *
expect_topic(const struct config_info *info, struct arena *a)
{
	return arena_printf(a, "letters, digits, '.', '_' and '-' (%d at most)", (int)info->max);
}

static const char *
expect_cidrs(const struct config_info *info, struct arena *a)
{
	(void)info;
	(void)a;
	return "addresses or CIDRs, separated by commas, such as 10.0.0.0/8,2001:db8::/32";
}

static const char *
expect_int(const struct config_info *info, struct arena *a)
{
	return arena_printf(a, "a whole number from %" PRId64 " to %" PRId64 " (%s)", info->min,
	    info->max, info->unit);
}

struct scale {
	int64_t factor;
	const char *suffix;
};

/* ${n} with the largest suffix that keeps it whole. */
static const char *
with_suffix(int64_t n, const struct scale *scale, struct arena *a)
{
	while (scale->factor > 1 && (n == 0 || n % scale->factor != 0))
		scale++;
	return arena_printf(a, "%" PRId64 "%s", n / scale->factor, scale->suffix);
}

static const char *
expect_size(const struct config_info *info, struct arena *a)
{
	static const struct scale sizes[] = { { 1 << 30, "g" }, { 1 << 20, "m" }, { 1 << 10, "k" },
		{ 1, "" } };

	return arena_printf(a, "a size from %s to %s, such as 64k, 16m or 1g",
	    with_suffix(info->min, sizes, a), with_suffix(info->max, sizes, a));
}

static const char *
expect_duration(const struct config_info *info, struct arena *a)
{
	static const struct scale durations[] = { { 86400000, "d" }, { 3600000, "h" },
		{ 60000, "m" }, { 1000, "s" }, { 1, "ms" } };

	return arena_printf(a,
	    "a duration from %s to %s, such as 250ms, 3s, 5m, 1h or 7d; a bare number is in %s",
	    with_suffix(info->min, durations, a), with_suffix(info->max, durations, a), info->unit);
}

static const char *
expect_mode(const struct config_info *info, struct arena *a)
{
	return arena_printf(a, "an octal mode from 0000 to %04o", (unsigned)info->max);
}

static const char *
expect_choice(const struct config_info *info, struct arena *a)
{
	struct slice rest = slice_of(info->unit), word = slice_cut(&rest, '|');
	const char *text = arena_copy(a, word);

	while (rest.ptr != NULL && text != NULL) {
		word = slice_cut(&rest, '|');
		text = arena_printf(
		    a, "%s%s%.*s", text, rest.ptr == NULL ? " or " : ", ", (int)word.len, word.ptr);
	}
	return text;
}

static const struct kind kinds[CONFIG_KIND__COUNT] = {
	[CONFIG_KIND_PATH] = { parse_path, expect_path },
	[CONFIG_KIND_PATHS] = { parse_paths, expect_paths },
	[CONFIG_KIND_ADDRESS] = { parse_address, expect_address },
	[CONFIG_KIND_BASE_PATH] = { parse_base_path, expect_base_path },
	[CONFIG_KIND_GROUP] = { parse_group, expect_group },
	[CONFIG_KIND_DATABASE] = { parse_database, expect_database },
	[CONFIG_KIND_REDIS] = { parse_redis, expect_redis },
	[CONFIG_KIND_BROKERS] = { parse_brokers, expect_brokers },
	[CONFIG_KIND_TOPIC] = { parse_topic, expect_topic },
	[CONFIG_KIND_CIDRS] = { parse_cidrs, expect_cidrs },
	[CONFIG_KIND_INT] = { parse_int, expect_int },
	[CONFIG_KIND_SIZE] = { parse_size, expect_size },
	[CONFIG_KIND_DURATION] = { parse_duration, expect_duration },
	[CONFIG_KIND_MODE] = { parse_mode, expect_mode },
	[CONFIG_KIND_CHOICE] = { parse_choice, expect_choice },
};

enum config_verdict
config_value_parse(const struct config_info *info, const char *text, const char *base_dir,
    struct arena *a, void *field, const char **resolved_out)
{
	struct reading r = {
		.info = info, .base_dir = base_dir, .a = a, .field = field, .resolved = text
	};
	const enum config_verdict v = kinds[info->kind].parse(&r, slice_of(text));

	*resolved_out = r.resolved;
	return v;
}

const char *
config_expected(const struct config_info *info, struct arena *a)
{
	return kinds[info->kind].expected(info, a);
}

const char *
address_unix_path(const char *address)
{
	return strncmp(address, "unix:", 5) == 0 ? address + 5 : NULL;
}

bool
address_is_loopback(const char *address)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct slice host, port;
	char text[INET6_ADDRSTRLEN];
	struct in6_addr v6;
	struct in_addr v4;

	if (!split_host(slice_of(address), &host, &port) || host.len >= sizeof text)
		return false;
	memcpy(text, host.ptr, host.len);
	text[host.len] = '\0';
	if (inet_pton(AF_INET, text, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, text, &v6) != 1)
		return strcmp(text, "localhost") == 0;
	if (memcmp(v6.s6_addr, mapped, sizeof mapped) == 0)
		return v6.s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(&v6);
}
