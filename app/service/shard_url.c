/*
 * REDIS_URL, piece by piece.
 */
#include "service/shard_url.h"

#include <string.h>
#include <sys/un.h>

#include "http/percent.h"

enum {
	DEFAULT_PORT = 6379,
	PORT_DIGITS = 5,
	UNIX_PATH_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1
};

static const char scheme[] = "redis://";
static const char secret_text[] = "***";

static struct slice
after(struct slice s, size_t n)
{
	return (struct slice){ s.ptr + n, s.len - n };
}

static bool
read_number(struct slice s, int64_t min, int64_t max, int64_t *out)
{
	return slice_to_i64(s, out) == ERR_OK && *out >= min && *out <= max;
}

static const char *
decode(struct slice raw, struct arena *a)
{
	const char *why;
	struct slice plain;

	if (percent_decode(raw, false, a, &plain, &why) != ERR_OK)
		return NULL;
	return arena_copy(a, plain);
}

/* "user:pass" or ":pass"; what is wrong, or NULL. */
static const char *
read_user(struct slice text, struct arena *a, struct shard_url *out)
{
	struct slice pass = text;
	const struct slice user = slice_cut(&pass, ':');

	if (pass.ptr == NULL)
		return "user:password@ or :password@";
	out->password = decode(pass, a);
	out->user = user.len == 0 ? NULL : decode(user, a);
	if (out->password == NULL || (user.len > 0 && out->user == NULL))
		return "user and password in UTF-8, with % escapes only where a character needs "
		       "one";
	return NULL;
}

/* "host", "host:port", "[v6]:port" */
static const char *
read_host(struct slice text, struct arena *a, struct shard_url *out)
{
	struct slice host = text, port = { NULL, 0 };
	int64_t n = DEFAULT_PORT;

	if (text.len > 0 && *text.ptr == '[') {
		port = after(text, 1);
		host = slice_cut(&port, ']');
		if (port.ptr == NULL || (port.len > 0 && *port.ptr != ':'))
			return "[address]:port";
		port = port.len == 0 ? (struct slice){ NULL, 0 } : after(port, 1);
	} else {
		port = text;
		host = slice_cut(&port, ':');
	}
	if (host.len == 0 || host.len > 255 || memchr(host.ptr, ' ', host.len) != NULL)
		return "a host before the port";
	if (port.ptr != NULL && !read_number(port, 1, 65535, &n))
		return "a port from 1 to 65535";
	out->host = arena_copy(a, host);
	out->port = (uint16_t)n;
	return NULL;
}

static const char *
read_tcp(struct slice rest, struct arena *a, struct shard_url *out)
{
	struct slice database, user;
	const char *why = NULL;
	int64_t n = 0;
	size_t at = rest.len;

	while (at > 0 && rest.ptr[at - 1] != '@')
		at--;
	if (at > 0) {
		user = (struct slice){ rest.ptr, at - 1 };
		rest = after(rest, at);
		why = read_user(user, a, out);
	}
	database = rest;
	rest = slice_cut(&database, '/');
	if (why == NULL)
		why = read_host(rest, a, out);
	if (why == NULL && database.len > 0 && !read_number(database, 0, 1000000, &n))
		why = "the number of a database behind the last /";
	if (why != NULL)
		return why;
	out->database = (unsigned)n;
	out->identity = arena_printf(a, "%s:%u/%u", out->host, (unsigned)out->port, out->database);
	out->shown = arena_printf(a, "%s%s%s%s%s", scheme, out->user == NULL ? "" : out->user,
	    out->password == NULL ? "" : ":***", out->password == NULL ? "" : "@", out->identity);
	return NULL;
}

static const char *
read_unix(struct slice path, struct arena *a, struct shard_url *out)
{
	if (path.len == 0 || path.len > UNIX_PATH_MAX)
		return "a path of at most 107 bytes after unix:";
	out->path = arena_copy(a, path);
	out->identity = out->shown = arena_printf(a, "unix:%s", out->path);
	return NULL;
}

static const char *
read_one(struct slice text, struct arena *a, struct shard_url *out)
{
	*out = (struct shard_url){ 0 };
	if (slice_starts(text, "unix:"))
		return read_unix(after(text, 5), a, out);
	if (slice_starts(text, scheme))
		return read_tcp(after(text, sizeof scheme - 1), a, out);
	if (slice_starts(text, "rediss://"))
		return "redis:// (this weir speaks to Redis without TLS)";
	return "redis://[user:pass@]host:port/db or unix:PATH";
}

static bool
is_there(const struct shard_url *urls, size_t count, const struct shard_url *one)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(urls[i].identity, one->identity) == 0)
			return true;
	return false;
}

enum err
shard_urls_parse(struct slice text, struct arena *a, struct shard_url out[SHARD_URLS_MAX],
    size_t *count_out, const char **why_out)
{
	size_t n = 0;

	*count_out = 0;
	*why_out = "redis://[user:pass@]host:port/db or unix:PATH";
	while (text.ptr != NULL) {
		struct shard_url one;
		const char *why = read_one(slice_trim(slice_cut(&text, ',')), a, &one);

		if (a->overflowed)
			return ERR_NOMEM;
		if (why == NULL && n == SHARD_URLS_MAX)
			why = "at most 16 shards";
		if (why == NULL && is_there(out, n, &one))
			why = "each shard once";
		if (why != NULL) {
			*why_out = why;
			return ERR_INVALID;
		}
		out[n++] = one;
	}
	*count_out = n;
	return n > 0 ? ERR_OK : ERR_INVALID;
}

/* Without any '@': a name, a path or host:port.  `user:password`, whose @host is missing, is none of them. */
static bool
holds_no_password(struct slice text)
{
	struct slice port = text;
	const struct slice host = slice_cut(&port, ':');

	if (port.ptr == NULL || slice_eq_cstr(host, "unix"))
		return true;
	return host.len > 0 && port.len <= PORT_DIGITS && slice_digits_at(port, 0) == port.len;
}

/* Of what cannot be read: the place behind the last '@', if nothing follows that may be another URL. */
static struct slice
place_that_may_be_shown(struct slice text)
{
	size_t at = text.len;

	while (at > 0 && text.ptr[at - 1] != '@')
		at--;
	if (at == 0 || memchr(text.ptr + at, ',', text.len - at) != NULL)
		return (struct slice){ NULL, 0 };
	return after(text, at - 1);
}

static const char *
shown_roughly(struct slice text, struct arena *a)
{
	const struct slice place = place_that_may_be_shown(text);
	const char *prefix = slice_starts(text, scheme) ? scheme : "";

	if (memchr(text.ptr, '@', text.len) == NULL && memchr(text.ptr, ',', text.len) == NULL &&
	    holds_no_password(after(text, strlen(prefix))))
		return arena_copy(a, text);
	return arena_printf(
	    a, "%s%s%.*s", prefix, secret_text, (int)place.len, place.ptr == NULL ? "" : place.ptr);
}

const char *
shard_urls_shown(struct slice text, struct arena *a)
{
	struct shard_url urls[SHARD_URLS_MAX];
	const char *why, *all = "";
	size_t count;

	if (shard_urls_parse(text, a, urls, &count, &why) != ERR_OK)
		return shown_roughly(text, a);
	for (size_t i = 0; i < count; i++)
		all = arena_printf(a, "%s%s%s", all, i == 0 ? "" : ",", urls[i].shown);
	return all;
}
