/*
 * The URLs of PostgreSQL, piece by piece.
 */
#include "service/pg_url.h"

#include <string.h>

#include "client/pg.h"
#include "http/percent.h"

enum { DEFAULT_PORT = 5432, HOST_BYTES_MAX = 255 };

static const char form[] = "postgres://user:pass@host:port/database";
static const char *const schemes[] = { "postgres://", "postgresql://" };

static struct slice
after(struct slice s, size_t n)
{
	return (struct slice){ s.ptr + n, s.len - n };
}

/* Bytes of the scheme that ${text} begins with, 0: of none. */
static size_t
scheme_bytes(struct slice text)
{
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
		if (slice_starts(text, schemes[i]))
			return strlen(schemes[i]);
	return 0;
}

bool
pg_url_fits(struct slice text)
{
	return scheme_bytes(text) > 0;
}

/* NULL for nothing, and for what cannot be decoded: *${bad} then. */
static const char *
decode(struct slice raw, struct arena *a, bool *bad)
{
	const char *why;
	struct slice plain;

	if (raw.len == 0)
		return NULL;
	if (percent_decode(raw, false, a, &plain, &why) == ERR_OK)
		return arena_copy(a, plain);
	*bad = true;
	return NULL;
}

static const char *
read_user(struct slice text, struct arena *a, struct pg_url *out)
{
	struct slice password = text;
	const struct slice user = slice_cut(&password, ':');
	bool bad = false;

	out->user = decode(user, a, &bad);
	out->password = decode(password, a, &bad);
	if (bad)
		return "user and password in UTF-8, with % escapes only where a character needs "
		       "one";
	return out->user == NULL ? "a user before the host, as in postgres://user:pass@host" : NULL;
}

static const char *
read_port(struct slice text, struct pg_url *out)
{
	int64_t n = DEFAULT_PORT;

	if (text.ptr != NULL && (slice_to_i64(text, &n) != ERR_OK || n < 1 || n > 65535))
		return "a port from 1 to 65535";
	out->port = (uint16_t)n;
	return NULL;
}

/* "host", "host:port", "[v6]:port", "%2Ffolder", or nothing: then it stands behind the '?'. */
static const char *
read_host(struct slice text, struct arena *a, struct pg_url *out)
{
	struct slice port = text, host;
	bool bad = false;

	if (text.len > 0 && *text.ptr == '[') {
		port = after(text, 1);
		host = slice_cut(&port, ']');
		if (port.ptr == NULL || (port.len > 0 && *port.ptr != ':'))
			return "[address]:port";
		port = port.len == 0 ? (struct slice){ NULL, 0 } : after(port, 1);
	} else {
		host = slice_cut(&port, ':');
	}
	if (host.len > HOST_BYTES_MAX)
		return "a host of at most 255 bytes";
	out->host = decode(host, a, &bad);
	return bad ? "a host in UTF-8" : read_port(port, out);
}

/* What may stand behind '?', and where it goes. */
static const char *
read_option(struct slice name, struct slice value, struct arena *a, struct pg_url *out)
{
	bool bad = false;
	const char *text = decode(value, a, &bad);

	if (bad || text == NULL)
		return "a value for each name behind ?";
	if (slice_eq_cstr(name, "sslmode"))
		out->tls_mode = text;
	else if (slice_eq_cstr(name, "sslrootcert"))
		out->tls_root = text;
	else if (slice_eq_cstr(name, "host"))
		out->host = text;
	else if (slice_eq_cstr(name, "port"))
		return read_port(slice_of(text), out);
	else
		return "only sslmode, sslrootcert, host and port behind ?";
	return NULL;
}

static bool
is_tls_mode(const char *mode)
{
	static const char *const modes[] = { "disable", "allow", "prefer", "require", "verify-ca",
		"verify-full" };

	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		if (mode == NULL || strcmp(mode, modes[i]) == 0)
			return true;
	return false;
}

static const char *
read_options(struct slice text, struct arena *a, struct pg_url *out)
{
	const char *why = NULL;

	while (text.ptr != NULL && why == NULL) {
		struct slice value = slice_cut(&text, '&');
		const struct slice name = slice_cut(&value, '=');

		why = read_option(name, value, a, out);
	}
	if (why == NULL && !is_tls_mode(out->tls_mode))
		why = "sslmode disable, allow, prefer, require, verify-ca or verify-full";
	return why;
}

static void
show(struct arena *a, struct pg_url *u)
{
	const bool v6 = strchr(u->host, ':') != NULL;

	u->shown = arena_printf(a, "postgres://%s%s@%s%s%s:%u/%s", u->user,
	    u->password == NULL ? "" : ":***", v6 ? "[" : "", u->host, v6 ? "]" : "",
	    (unsigned)u->port, u->database);
}

/* What is wrong, or NULL. */
static const char *
read_one(struct slice text, struct arena *a, struct pg_url *out)
{
	struct slice options, database, rest;
	const char *why;
	bool bad = false;
	size_t at;

	*out = (struct pg_url){ 0 };
	if (!pg_url_fits(text))
		return form;
	options = after(text, scheme_bytes(text));
	rest = slice_cut(&options, '?');
	for (at = rest.len; at > 0 && rest.ptr[at - 1] != '@';)
		at--;
	if (at == 0)
		return "a user before the host, as in postgres://user:pass@host";
	why = read_user((struct slice){ rest.ptr, at - 1 }, a, out);
	database = after(rest, at);
	rest = slice_cut(&database, '/');
	if (why == NULL)
		why = read_host(rest, a, out);
	out->database = database.len == 0 ? out->user : decode(database, a, &bad);
	if (why == NULL)
		why = bad ? "the name of a database in UTF-8" : read_options(options, a, out);
	if (why == NULL && out->host == NULL && !a->overflowed)
		why = "a host behind the user";
	if (why == NULL && !a->overflowed)
		show(a, out);
	return why;
}

enum err
pg_urls_parse(struct slice text, struct arena *a, struct pg_url out[PG_URLS_MAX], size_t *count_out,
    const char **why_out)
{
	size_t n = 0;

	*count_out = 0;
	*why_out = form;
	while (text.ptr != NULL) {
		struct pg_url one;
		const char *why = read_one(slice_trim(slice_cut(&text, ',')), a, &one);

		if (a->overflowed)
			return ERR_NOMEM;
		if (why == NULL && n == PG_URLS_MAX)
			why = "at most 16 servers";
		for (size_t i = 0; i < n && why == NULL; i++)
			if (pg_url_same_place(&out[i], &one))
				why = "each server once";
		if (why != NULL) {
			*why_out = why;
			return ERR_INVALID;
		}
		out[n++] = one;
	}
	*count_out = n;
	return n > 0 ? ERR_OK : ERR_INVALID;
}

/* Of one that cannot be read whole: the place behind the last '@', if nothing follows that may be another URL,
 * and without what stands behind '?', where libpq would take a password too. */
static const char *
shown_roughly(struct slice text, struct arena *a)
{
	const size_t from = scheme_bytes(text);
	size_t at = text.len;
	struct slice place, options;

	while (at > from && text.ptr[at - 1] != '@')
		at--;
	options = after(text, at);
	place = slice_cut(&options, '?');
	/* user:pass whose @host is missing looks like host:port */
	if (at == from || memchr(place.ptr, ',', place.len) != NULL)
		return arena_printf(a, "%.*s***", (int)from, text.ptr);
	return arena_printf(a, "%.*s***@%.*s%s", (int)from, text.ptr, (int)place.len, place.ptr,
	    options.ptr == NULL ? "" : "?***");
}

const char *
pg_urls_shown(struct slice text, struct arena *a)
{
	struct pg_url urls[PG_URLS_MAX];
	const char *why, *all = "";
	size_t count;

	if (pg_urls_parse(text, a, urls, &count, &why) != ERR_OK)
		return shown_roughly(text, a);
	for (size_t i = 0; i < count; i++)
		all = arena_printf(a, "%s%s%s", all, i == 0 ? "" : ",", urls[i].shown);
	return all;
}

bool
pg_url_same_place(const struct pg_url *a, const struct pg_url *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0 &&
	       strcmp(a->database, b->database) == 0;
}

bool
pg_url_is_local(const struct pg_url *u)
{
	return *u->host == '/';
}

struct pg_address
pg_url_address(const struct pg_url *u, const char *numeric)
{
	return (struct pg_address){
		.host = u->host,
		.numeric = numeric,
		.port = u->port,
		.user = u->user,
		.password = u->password,
		.database = u->database,
		.tls_mode = u->tls_mode,
		.tls_root = u->tls_root,
	};
}
