/*
 * A request as CGI parameters tell it, read in one pass.
 *
 * Names are met through a table by their length, so a parameter that nobody
 * wants (most of nginx's 25) costs one strchr().  What arrived is counted first
 * and joined afterwards, only where a header came twice: ten thousand repeated
 * lines cost two passes, not ten thousand copies.
 */
#include "http/request.h"

#include <string.h>

#include "base/hash.h"
#include "base/rand.h"

/* Those that a client's header line can repeat come first: their lines are joined.  Of the others,
 * which only the front server sets, the last one counts. */
enum front {
	FRONT_FORWARDED_FOR,
	FRONT_AUTHORIZATION,
	FRONT_API_KEY,
	FRONT_ACCEPT,
	FRONT_CONSISTENCY,
	FRONT_COOKIE,
	FRONT_IF_NONE_MATCH,
	FRONT_IDEMPOTENCY_KEY,
	FRONT_TRACEPARENT,
	FRONT_TRACESTATE,
	FRONT_JOINED__COUNT,
	FRONT_METHOD = FRONT_JOINED__COUNT,
	FRONT_URI,
	FRONT_CONTENT_TYPE,
	FRONT_CONTENT_LENGTH,
	FRONT_REMOTE_ADDR,
	FRONT_SCRIPT_NAME,
	FRONT_TENANT,
	FRONT_REDIRECT_AUTHORIZATION,
	FRONT_REQUEST_ID,
	FRONT_REQUEST_START,
	FRONT__COUNT
};

enum { LONGEST_NAME = sizeof "REDIRECT_HTTP_AUTHORIZATION" - 1, SAME_LENGTH = 5 };

struct known {
	const char *name;
	enum front id;
};

/* Two rows in one place do not compile (-Woverride-init), nor does a name of another length. */
#define KNOWN(nth, text, front_id) [sizeof(text) - 1][nth] = { text, front_id }

static const struct known by_length[LONGEST_NAME + 1][SAME_LENGTH] = {
	KNOWN(0, "TENANT_ID", FRONT_TENANT),
	KNOWN(0, "REQUEST_ID", FRONT_REQUEST_ID),
	KNOWN(0, "REQUEST_URI", FRONT_URI),
	KNOWN(1, "REMOTE_ADDR", FRONT_REMOTE_ADDR),
	KNOWN(2, "SCRIPT_NAME", FRONT_SCRIPT_NAME),
	KNOWN(3, "HTTP_ACCEPT", FRONT_ACCEPT),
	KNOWN(4, "HTTP_COOKIE", FRONT_COOKIE),
	KNOWN(0, "CONTENT_TYPE", FRONT_CONTENT_TYPE),
	KNOWN(0, "REQUEST_START", FRONT_REQUEST_START),
	KNOWN(0, "REQUEST_METHOD", FRONT_METHOD),
	KNOWN(1, "CONTENT_LENGTH", FRONT_CONTENT_LENGTH),
	KNOWN(2, "HTTP_X_API_KEY", FRONT_API_KEY),
	KNOWN(0, "HTTP_TRACESTATE", FRONT_TRACESTATE),
	KNOWN(0, "HTTP_TRACEPARENT", FRONT_TRACEPARENT),
	KNOWN(0, "HTTP_AUTHORIZATION", FRONT_AUTHORIZATION),
	KNOWN(1, "HTTP_IF_NONE_MATCH", FRONT_IF_NONE_MATCH),
	KNOWN(0, "HTTP_IDEMPOTENCY_KEY", FRONT_IDEMPOTENCY_KEY),
	KNOWN(1, "HTTP_X_FORWARDED_FOR", FRONT_FORWARDED_FOR),
	KNOWN(0, "HTTP_X_WEIR_CONSISTENCY", FRONT_CONSISTENCY),
	KNOWN(0, "REDIRECT_HTTP_AUTHORIZATION", FRONT_REDIRECT_AUTHORIZATION),
};

struct arrived {
	struct slice last;
	unsigned lines;
	size_t bytes; /* of all lines */
};

/* Which parameter "NAME=value" is, and its value; FRONT__COUNT for one that nobody reads. */
static enum front
recognise(const char *pair, const char **value_out)
{
	const char *equals = strchr(pair, '=');
	const size_t len = equals == NULL ? SIZE_MAX : (size_t)(equals - pair);

	if (len > LONGEST_NAME)
		return FRONT__COUNT;
	*value_out = equals + 1;
	for (size_t i = 0; i < SAME_LENGTH && by_length[len][i].name != NULL; i++)
		if (memcmp(pair, by_length[len][i].name, len) == 0)
			return by_length[len][i].id;
	return FRONT__COUNT;
}

static void
scan(const char *const *envp, struct arrived arrived[FRONT__COUNT])
{
	const char *value;

	for (; *envp != NULL; envp++) {
		const enum front id = recognise(*envp, &value);

		if (id == FRONT__COUNT || (id < FRONT_JOINED__COUNT && *value == '\0'))
			continue; /* fronts pass on "$http_authorization" also where there is none */
		arrived[id].last = slice_of(value);
		arrived[id].bytes += arrived[id].last.len;
		arrived[id].lines++;
	}
}

/* All lines of ${id}, in order, with ", " between (RFC 9110 §5.3). */
static enum err
join(const char *const *envp, enum front id, struct arrived *it, struct arena *a)
{
	char *bytes = arena_alloc(a, it->bytes + 2 * (size_t)it->lines);
	const char *value;
	size_t len = 0;

	if (bytes == NULL)
		return ERR_NOMEM;
	for (; *envp != NULL; envp++) {
		if (recognise(*envp, &value) != id || *value == '\0')
			continue;
		if (len > 0) {
			bytes[len++] = ',';
			bytes[len++] = ' ';
		}
		memcpy(bytes + len, value, strlen(value));
		len += strlen(value);
	}
	it->last = (struct slice){ bytes, len };
	return ERR_OK;
}

/* The value of "NAME=value" when NAME is ${param}; else absent. */
static struct slice
value_of(const char *pair, struct slice param)
{
	if (strncmp(pair, param.ptr, param.len) != 0 || pair[param.len] != '=')
		return (struct slice){ 0 };
	return slice_trim(slice_of(pair + param.len + 1));
}

static struct slice
absent_if_empty(struct slice s)
{
	return s.len == 0 ? (struct slice){ NULL, 0 } : s;
}

static bool
is_request_id(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		const char c = s.ptr[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    c != '_' && c != '.' && c != '-')
			return false;
	}
	return s.len >= 1 && s.len <= 128;
}

static enum err
make_request_id(struct arena *a, struct slice *out)
{
	const uint64_t id[2] = { rand_u64(), rand_u64() };
	char *text = arena_alloc(a, 2 * sizeof id + 1);

	if (text == NULL)
		return ERR_NOMEM;
	hex_encode(id, sizeof id, text);
	*out = (struct slice){ text, 2 * sizeof id };
	return ERR_OK;
}

/* As people's fronts tell it: nginx's $msec "1764000000.123", Apache's "t=%t" in microseconds, Heroku's milliseconds.  0
 * for anything else. */
static int64_t
parse_start(struct slice s)
{
	enum { SECONDS_DIGITS = 10, MS_DIGITS = 13, US_DIGITS = 16 }; /* until the year 2286 */
	struct slice seconds;
	int64_t whole, us = 0;

	if (s.len > 2 && memcmp(s.ptr, "t=", 2) == 0)
		s = (struct slice){ s.ptr + 2, s.len - 2 };
	seconds = slice_cut(&s, '.');
	if (seconds.len > US_DIGITS || s.len > 6 || slice_to_i64(seconds, &whole) != ERR_OK ||
	    whole < 0)
		return 0;
	if (seconds.len == US_DIGITS)
		return s.len == 0 ? whole : 0;
	if (seconds.len == MS_DIGITS)
		return s.len == 0 ? whole * 1000 : 0;
	if (seconds.len > SECONDS_DIGITS)
		return 0;
	for (size_t i = 0; i < 6; i++) {
		const char c = i < s.len ? s.ptr[i] : '0';

		if (c < '0' || c > '9')
			return 0;
		us = us * 10 + (c - '0');
	}
	return whole * 1000000 + us;
}

static void
read_target(struct request *r, struct slice uri)
{
	r->path = slice_cut(&uri, '?');
	r->query = uri;
}

static void
read_headers(struct request *r, const struct arrived *arrived)
{
	r->forwarded_for = arrived[FRONT_FORWARDED_FOR].last;
	r->authorization = arrived[FRONT_AUTHORIZATION].last;
	if (r->authorization.ptr == NULL) /* Apache, behind a rewrite */
		r->authorization = absent_if_empty(arrived[FRONT_REDIRECT_AUTHORIZATION].last);
	r->api_key = arrived[FRONT_API_KEY].last;
	r->accept = arrived[FRONT_ACCEPT].last;
	r->consistency = arrived[FRONT_CONSISTENCY].last;
	r->cookie = arrived[FRONT_COOKIE].last;
	r->if_none_match = arrived[FRONT_IF_NONE_MATCH].last;
	r->idempotency_key = arrived[FRONT_IDEMPOTENCY_KEY].last;
	r->idempotency_key_lines = arrived[FRONT_IDEMPOTENCY_KEY].lines;
	r->traceparent = arrived[FRONT_TRACEPARENT].last;
	r->traceparent_lines = arrived[FRONT_TRACEPARENT].lines;
	r->tracestate = arrived[FRONT_TRACESTATE].last;
}

/* What the front server says; nginx sends many of its parameters empty. */
static void
read_front(struct request *r, const struct arrived *arrived)
{
	read_target(r, arrived[FRONT_URI].last);
	r->method = HTTP_METHOD__COUNT;
	r->method_text = arrived[FRONT_METHOD].last;
	r->method_known = http_method_parse(r->method_text, &r->method);
	r->content_type = absent_if_empty(arrived[FRONT_CONTENT_TYPE].last);
	r->remote_addr = absent_if_empty(arrived[FRONT_REMOTE_ADDR].last);
	r->script_name = absent_if_empty(arrived[FRONT_SCRIPT_NAME].last);
	r->tenant = absent_if_empty(arrived[FRONT_TENANT].last);
	r->request_id = arrived[FRONT_REQUEST_ID].last;
	r->request_id_from_front = is_request_id(r->request_id);
	r->start_us = parse_start(arrived[FRONT_REQUEST_START].last);
}

static enum err
read_length(struct request *r, struct slice text)
{
	int64_t n = 0;

	if (text.len == 0)
		return ERR_OK;
	if (slice_to_i64(text, &n) != ERR_OK || *text.ptr == '-')
		return ERR_INVALID;
	r->has_length = true;
	r->content_length = (uint64_t)n;
	return ERR_OK;
}

static const char *
fault_of(struct request *r, const struct arrived *arrived)
{
	if (r->method_text.len == 0)
		return "the front server sent no REQUEST_METHOD";
	if (r->path.len == 0)
		return "the front server sent no path in REQUEST_URI";
	if (read_length(r, arrived[FRONT_CONTENT_LENGTH].last) != ERR_OK)
		return "Content-Length: expected a number of bytes";
	return NULL;
}

enum err
request_read(
    struct request *r, const char *const *envp, struct arena *a, struct problem *problem_out)
{
	struct arrived arrived[FRONT__COUNT] = { 0 };
	const char *fault;
	enum err rc = ERR_OK;

	scan(envp, arrived);
	for (enum front id = 0; id < FRONT_JOINED__COUNT && rc == ERR_OK; id++)
		if (arrived[id].lines > 1)
			rc = join(envp, id, &arrived[id], a);
	*r = (struct request){ 0 };
	read_headers(r, arrived);
	read_front(r, arrived);
	if (rc == ERR_OK && !r->request_id_from_front)
		rc = make_request_id(a, &r->request_id);
	if (rc != ERR_OK) {
		*problem_out = problem_of(rc);
		return rc;
	}
	fault = fault_of(r, arrived);
	if (fault == NULL)
		return ERR_OK;
	*problem_out = PROBLEM(400, fault);
	return ERR_INVALID;
}

enum err
request_header(
    const char *const *envp, struct slice param, size_t max, struct arena *a, struct slice *out)
{
	char *bytes = NULL;
	size_t len = 0;

	*out = (struct slice){ 0 };
	for (; *envp != NULL; envp++) {
		const struct slice line = value_of(*envp, param);

		if (line.len == 0)
			continue;
		if (len + 2 + line.len > max + 2)
			return ERR_TOO_LARGE;
		if (bytes == NULL)
			bytes = arena_alloc(a, max + 2);
		if (bytes == NULL)
			return ERR_NOMEM;
		if (len > 0) {
			memcpy(bytes + len, ", ", 2);
			len += 2;
		}
		memcpy(bytes + len, line.ptr, line.len);
		len += line.len;
	}
	*out = (struct slice){ bytes, len };
	return len > max ? ERR_TOO_LARGE : ERR_OK;
}

/* What is between the quotes; *${rest} goes on behind them.  False: no entity-tag begins here. */
static bool
take_etag(struct slice *rest, struct slice *opaque_out)
{
	const char *end;

	if (slice_starts(*rest, "W/")) {
		rest->ptr += 2;
		rest->len -= 2;
	}
	if (rest->len < 2 || *rest->ptr != '"')
		return false;
	end = memchr(rest->ptr + 1, '"', rest->len - 1);
	if (end == NULL)
		return false;
	*opaque_out = (struct slice){ rest->ptr + 1, (size_t)(end - rest->ptr) - 1 };
	rest->len -= opaque_out->len + 2;
	rest->ptr = end + 1;
	return true;
}

static bool
same_but_coding(struct slice sent, struct slice own)
{
	struct slice suffix;

	if (sent.len < own.len || memcmp(sent.ptr, own.ptr, own.len) != 0)
		return false;
	suffix = (struct slice){ sent.ptr + own.len, sent.len - own.len };
	return suffix.len == 0 || slice_eq(suffix, SLICE("-gzip")) ||
	       slice_eq(suffix, SLICE("-br"));
}

static void
skip_separators(struct slice *rest)
{
	while (rest->len > 0 && (*rest->ptr == ',' || *rest->ptr == ' ' || *rest->ptr == '\t')) {
		rest->ptr++;
		rest->len--;
	}
}

bool
request_etag_matches(struct slice if_none_match, struct slice etag)
{
	struct slice rest = if_none_match, sent, own;

	if (slice_eq(slice_trim(rest), SLICE("*")))
		return true;
	if (!take_etag(&etag, &own))
		return false;
	skip_separators(&rest);
	while (take_etag(&rest, &sent)) {
		if (same_but_coding(sent, own))
			return true;
		skip_separators(&rest);
	}
	return false; /* the end, or something that is no entity-tag: the whole answer is never wrong */
}
