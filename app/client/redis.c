/*
 * One connection to one Redis.
 *
 * hiredis only writes commands and reads replies; the socket and every wait are ours, for its own are without a
 * deadline.  Each turn of the one loop sends what is left, takes what has come, and then looks at the clock,
 * whether or not anything came: so a server that trickles is as late as one that says nothing.
 */
#include "client/redis.h"

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "client/redis_reply.h"

enum {
	READ_BYTES = 16384,
	REPLY_PARTS_MAX = 1 << 20,
	ARGS_MAX = 1 << 20,
	SCRIPTS_MAX = 16, /* whose digest a connection remembers */
	AT_BYTES = 128,
};

struct known_script {
	const struct redis_script *script;
	char sha[DIGEST_SHA1_CHARS + 1];
};

struct redis {
	int fd;
	bool dead;
	redisReader *reader;
	size_t parts, bytes; /* of the reply that is being read */
	struct known_script scripts[SCRIPTS_MAX];
	size_t script_count;
	char at[AT_BYTES]; /* for the log */
};

static struct log_gate said; /* all connections of this process share a line a second */

static enum err
fail(struct redis *r, const char *call, enum err rc, const char *reason)
{
	uint64_t held;

	r->dead = true;
	if (log_gate_open(&said, clock_mono_ms(), &held))
		log_warn("redis_failed", LOG_STR("at", r->at), LOG_STR("call", call),
		    LOG_ERR("error", rc), LOG_STR("reason", reason), LOG_INT("suppressed", held));
	return rc;
}

static enum err
fail_errno(struct redis *r, const char *call, enum err rc)
{
	char reason[128];

	return fail(r, call, rc, strerror_r(errno, reason, sizeof reason));
}

/*
 * What hiredis calls while it parses.  NULL makes it give up, so a reply over its bounds ends there.
 */
static void *
place(const redisReadTask *task, struct redis_reply *reply)
{
	struct redis_reply *parent = task->parent == NULL ? NULL : task->parent->obj;

	if (reply != NULL && parent != NULL)
		parent->items[task->idx] = reply;
	return reply;
}

static bool
is_within_bounds(const redisReadTask *task, size_t parts, size_t bytes)
{
	struct redis *r = task->privdata;

	r->parts += parts;
	r->bytes += bytes + sizeof(struct redis_reply);
	return r->parts <= REPLY_PARTS_MAX && r->bytes <= REDIS_REPLY_BYTES_MAX;
}

static void *
make_text(const redisReadTask *task, char *text, size_t len)
{
	enum redis_type type = REDIS_TEXT;

	if (task->type == REDIS_REPLY_STATUS)
		type = REDIS_STATUS;
	else if (task->type == REDIS_REPLY_ERROR)
		type = REDIS_ERROR;
	if (!is_within_bounds(task, 1, len))
		return NULL;
	return place(task, redis_reply_new(type, text, len));
}

static void *
make_array(const redisReadTask *task, int count)
{
	if (count < 0 || !is_within_bounds(task, (size_t)count, (size_t)count * sizeof(void *)))
		return NULL;
	return place(task, redis_reply_new_array((size_t)count));
}

static void *
make_integer(const redisReadTask *task, long long n)
{
	struct redis_reply *reply =
	    is_within_bounds(task, 1, 0) ? redis_reply_new(REDIS_INTEGER, NULL, 0) : NULL;

	if (reply != NULL)
		reply->integer = n;
	return place(task, reply);
}

static void *
make_nil(const redisReadTask *task)
{
	return is_within_bounds(task, 1, 0) ? place(task, redis_reply_new(REDIS_NIL, NULL, 0))
					    : NULL;
}

static void
free_reply(void *reply)
{
	struct redis_reply *r = reply;

	redis_reply_free(&r);
}

static redisReplyObjectFunctions reply_functions = { make_text, make_array, make_integer, make_nil,
	free_reply };

/*
 * The loop.
 */
struct sending {
	const char *call; /* for the log */
	const char *bytes;
	size_t left;
};

/* Waits until ${deadline_ms}; ERR_TIMEOUT when that is over. */
static enum err
wait_for(const struct redis *r, short events, int64_t deadline_ms)
{
	const int64_t left_ms = deadline_ms - clock_mono_ms();
	struct pollfd p = { .fd = r->fd, .events = events };

	if (left_ms <= 0)
		return ERR_TIMEOUT;
	if (poll(&p, 1, left_ms < 60000 ? (int)left_ms : 60000) == -1 && errno != EINTR)
		return ERR_IO;
	return ERR_OK;
}

static enum err
send_some(struct redis *r, struct sending *s)
{
	ssize_t n;

	if (s->left == 0)
		return ERR_OK;
	n = send(r->fd, s->bytes, s->left, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n == -1 && errno != EAGAIN && errno != EINTR)
		return fail_errno(r, s->call, ERR_IO);
	if (n > 0) {
		s->bytes += n;
		s->left -= (size_t)n;
	}
	return ERR_OK;
}

/* *${out} is NULL while the reply is not whole. */
static enum err
parse(struct redis *r, const char *call, struct redis_reply **out)
{
	void *reply = NULL;

	if (redisReaderGetReply(r->reader, &reply) != REDIS_OK)
		return fail(r, call, ERR_IO, r->reader->errstr);
	*out = reply;
	if (reply != NULL)
		r->parts = r->bytes = 0;
	return ERR_OK;
}

static enum err
receive_some(struct redis *r, const char *call, struct redis_reply **out)
{
	char bytes[READ_BYTES];
	const ssize_t n = recv(r->fd, bytes, sizeof bytes, MSG_DONTWAIT);

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return ERR_OK;
	if (n == -1)
		return fail_errno(r, call, ERR_IO);
	if (n == 0)
		return fail(r, call, ERR_IO, "Redis has closed the connection");
	if (r->reader->len - r->reader->pos > REDIS_REPLY_BYTES_MAX)
		return fail(r, call, ERR_IO, "the reply is too large");
	if (redisReaderFeed(r->reader, bytes, (size_t)n) != REDIS_OK)
		return fail(r, call, ERR_NOMEM, "no memory for the reply");
	return parse(r, call, out);
}

static enum err
converse(struct redis *r, struct sending *s, int64_t deadline_ms, struct redis_reply **out)
{
	enum err rc = ERR_OK;

	while (rc == ERR_OK && *out == NULL) {
		rc = send_some(r, s);
		if (rc == ERR_OK)
			rc = receive_some(r, s->call, out);
		if (rc != ERR_OK || *out != NULL)
			break;
		rc = wait_for(r, s->left > 0 ? POLLIN | POLLOUT : POLLIN, deadline_ms);
		if (rc == ERR_TIMEOUT)
			(void)fail(r, s->call, rc, "no whole reply in time");
		else if (rc != ERR_OK)
			(void)fail_errno(r, s->call, rc);
	}
	return rc;
}

/* Redis is there and cannot serve: the caller's fallback is due, the connection is good. */
static bool
says_unavailable(const struct redis_reply *reply)
{
	static const char *const words[] = { "OOM ", "READONLY ", "LOADING ", "BUSY ", "MISCONF ",
		"NOREPLICAS ", "MASTERDOWN ", "CLUSTERDOWN " };

	if (redis_reply_type(reply) != REDIS_ERROR)
		return false;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (slice_starts(redis_reply_text(reply), words[i]))
			return true;
	return false;
}

static void
say_unavailable(const struct redis *r, const char *call, const struct redis_reply *reply)
{
	uint64_t held;

	if (log_gate_open(&said, clock_mono_ms(), &held))
		log_warn("redis_failed", LOG_STR("at", r->at), LOG_STR("call", call),
		    LOG_SLICE("reason", redis_reply_text(reply)), LOG_INT("suppressed", held));
}

/* ${argv} as RESP, freed by redisFreeCommand(). */
static enum err
format(const struct slice *argv, size_t argc, char **bytes_out, size_t *len_out)
{
	const char **texts = argc > ARGS_MAX ? NULL : calloc(argc, sizeof *texts);
	size_t *lengths = argc > ARGS_MAX ? NULL : calloc(argc, sizeof *lengths);
	int len = -1;

	if (texts != NULL && lengths != NULL) {
		for (size_t i = 0; i < argc; i++) {
			texts[i] = argv[i].ptr == NULL ? "" : argv[i].ptr;
			lengths[i] = argv[i].len;
		}
		len = redisFormatCommandArgv(bytes_out, (int)argc, texts, lengths);
	}
	free(texts);
	free(lengths);
	*len_out = len < 0 ? 0 : (size_t)len;
	return len < 0 ? ERR_NOMEM : ERR_OK;
}

/* ${name}: of the command or script, for the log, where arguments never come. */
static enum err
call_named(struct redis *r, const char *name, const struct slice *argv, size_t argc,
    int64_t deadline_ms, struct redis_reply **out)
{
	struct sending s = { .call = name };
	char *bytes = NULL;
	enum err rc;

	*out = NULL;
	if (r->dead)
		return ERR_IO;
	rc = format(argv, argc, &bytes, &s.left);
	if (rc != ERR_OK)
		return rc;
	s.bytes = bytes;
	rc = converse(r, &s, deadline_ms, out);
	redisFreeCommand(bytes);
	if (rc == ERR_OK && says_unavailable(*out)) {
		say_unavailable(r, name, *out);
		redis_reply_free(out);
		rc = ERR_UNAVAILABLE;
	}
	return rc;
}

enum err
redis_call(struct redis *r, const struct slice *argv, size_t argc, int64_t deadline_ms,
    struct redis_reply **out)
{
	char name[32];

	(void)snprintf(
	    name, sizeof name, "%.*s", (int)(argv->len < 31 ? argv->len : 31), argv->ptr);
	return call_named(r, name, argv, argc, deadline_ms, out);
}

/*
 * Scripts.
 */
static struct slice
sha_of(struct redis *r, const struct redis_script *script)
{
	struct known_script *known = r->scripts;

	for (size_t i = 0; i < r->script_count; i++, known++)
		if (known->script == script)
			return (struct slice){ known->sha, DIGEST_SHA1_CHARS };
	known = &r->scripts[r->script_count < SCRIPTS_MAX ? r->script_count++ : SCRIPTS_MAX - 1];
	known->script = script;
	digest_sha1(slice_of(script->text), known->sha);
	return (struct slice){ known->sha, DIGEST_SHA1_CHARS };
}

enum err
redis_eval(struct redis *r, const struct redis_script *script, const struct slice *keys,
    size_t key_count, const struct slice *args, size_t arg_count, int64_t deadline_ms,
    struct redis_reply **out)
{
	const size_t argc = 3 + key_count + arg_count;
	struct slice *argv = calloc(argc, sizeof *argv);
	char number[I64_BYTES];
	enum err rc;

	*out = NULL;
	if (argv == NULL)
		return ERR_NOMEM;
	argv[0] = SLICE("EVALSHA");
	argv[1] = sha_of(r, script);
	argv[2] = (struct slice){ number, i64_write((int64_t)key_count, number) };
	if (key_count > 0)
		memcpy(argv + 3, keys, key_count * sizeof *keys);
	if (arg_count > 0)
		memcpy(argv + 3 + key_count, args, arg_count * sizeof *args);
	rc = call_named(r, script->name, argv, argc, deadline_ms, out);
	if (rc == ERR_OK && redis_reply_type(*out) == REDIS_ERROR &&
	    slice_starts(redis_reply_text(*out), "NOSCRIPT")) {
		redis_reply_free(out);
		argv[0] = SLICE("EVAL");
		argv[1] = slice_of(script->text);
		rc = call_named(r, script->name, argv, argc, deadline_ms, out);
	}
	free(argv);
	return rc;
}

enum err
redis_message(struct redis *r, int64_t deadline_ms, struct redis_reply **out)
{
	enum err rc;

	*out = NULL;
	if (r->dead)
		return ERR_IO;
	rc = parse(r, "message", out);
	while (rc == ERR_OK && *out == NULL) {
		rc = receive_some(r, "message", out);
		if (rc != ERR_OK || *out != NULL)
			break;
		rc = wait_for(r, POLLIN, deadline_ms);
		if (rc == ERR_IO)
			(void)fail_errno(r, "message", rc);
	}
	return rc;
}

/*
 * Opening and closing.
 */
struct target {
	struct sockaddr_storage address;
	socklen_t len;
};

static bool
target_of(const struct redis_address *a, struct target *out)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->address;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&out->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->address;

	*out = (struct target){ 0 };
	if (a->path != NULL) {
		un->sun_family = AF_UNIX;
		out->len = sizeof *un;
		return snprintf(un->sun_path, sizeof un->sun_path, "%s", a->path) <
		       (int)sizeof un->sun_path;
	}
	if (inet_pton(AF_INET, a->host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(a->port);
		out->len = sizeof *v4;
		return true;
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(a->port);
	out->len = sizeof *v6;
	return inet_pton(AF_INET6, a->host, &v6->sin6_addr) == 1;
}

/* A unix socket whose backlog is full says EAGAIN and cannot be polled: its server is stopped. */
static enum err
wait_for_room(int64_t deadline_ms)
{
	if (clock_mono_ms() >= deadline_ms)
		return ERR_TIMEOUT;
	(void)poll(NULL, 0, 1);
	return ERR_OK;
}

static enum err
finish_connect(struct redis *r, int64_t deadline_ms)
{
	struct pollfd p = { .fd = r->fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int error = 0;

	while (poll(&p, 1, 0) == 0) {
		const enum err rc = wait_for(r, POLLOUT, deadline_ms);

		if (rc != ERR_OK)
			return fail(r, "connect", rc, "no connection in time");
	}
	if (getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1 || error != 0) {
		errno = error;
		return fail_errno(r, "connect", ERR_UNAVAILABLE);
	}
	return ERR_OK;
}

static enum err
dial(struct redis *r, const struct target *t, int64_t deadline_ms)
{
	const int on = 1;

	r->fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->fd == -1)
		return fail_errno(r, "socket", ERR_UNAVAILABLE);
	if (t->address.ss_family != AF_UNIX)
		(void)setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	while (connect(r->fd, (const struct sockaddr *)&t->address, t->len) == -1) {
		if (errno == EINPROGRESS)
			return finish_connect(r, deadline_ms);
		if (errno != EAGAIN && errno != EINTR)
			return fail_errno(r, "connect", ERR_UNAVAILABLE);
		if (wait_for_room(deadline_ms) != ERR_OK)
			return fail(r, "connect", ERR_TIMEOUT, "no connection in time");
	}
	return ERR_OK;
}

static enum err
expect_ok(struct redis *r, const struct slice *argv, size_t argc, int64_t deadline_ms)
{
	struct redis_reply *reply;
	char reason[256];
	enum err rc = redis_call(r, argv, argc, deadline_ms, &reply);

	if (rc == ERR_OK && redis_reply_type(reply) != REDIS_STATUS) {
		const struct slice text = redis_reply_text(reply);

		(void)snprintf(reason, sizeof reason, "%.*s",
		    (int)(text.len < 255 ? text.len : 255), text.len > 0 ? text.ptr : "");
		rc = fail(r, argv[0].ptr, ERR_UNAVAILABLE, reason);
	}
	redis_reply_free(&reply);
	return rc;
}

static enum err
introduce(struct redis *r, const struct redis_address *a, int64_t deadline_ms)
{
	struct slice auth[3] = { SLICE("AUTH") }, select[2] = { SLICE("SELECT") };
	char number[I64_BYTES];
	size_t n = 1;
	enum err rc = ERR_OK;

	if (a->user != NULL)
		auth[n++] = slice_of(a->user);
	if (a->password != NULL) {
		auth[n++] = slice_of(a->password);
		rc = expect_ok(r, auth, n, deadline_ms);
	}
	if (rc != ERR_OK || a->database == 0)
		return rc;
	select[1] = (struct slice){ number, i64_write(a->database, number) };
	return expect_ok(r, select, 2, deadline_ms);
}

enum err
redis_connect(const struct redis_address *a, int64_t deadline_ms, struct redis **out)
{
	struct redis *r = calloc(1, sizeof *r);
	struct target target;
	enum err rc = ERR_NOMEM;

	*out = NULL;
	if (r == NULL)
		return ERR_NOMEM;
	r->fd = -1;
	if (a->path != NULL)
		(void)snprintf(r->at, sizeof r->at, "unix:%s", a->path);
	else
		(void)snprintf(r->at, sizeof r->at, "%s:%u", a->host, (unsigned)a->port);
	r->reader = redisReaderCreateWithFunctions(&reply_functions);
	if (r->reader == NULL)
		goto out;
	r->reader->privdata = r; /* its macro casts a pointer to int */
	rc = target_of(a, &target) ? dial(r, &target, deadline_ms)
				   : fail(r, "connect", ERR_UNAVAILABLE, "not a usable address");
	if (rc == ERR_OK)
		rc = introduce(r, a, deadline_ms);
out:
	if (rc != ERR_OK)
		redis_close(&r);
	*out = r;
	return rc;
}

void
redis_close(struct redis **rp)
{
	struct redis *r = *rp;

	if (r == NULL)
		return;
	*rp = NULL;
	if (r->fd != -1)
		(void)close(r->fd);
	if (r->reader != NULL)
		redisReaderFree(r->reader);
	free(r);
}

bool
redis_is_dead(const struct redis *r)
{
	return r->dead;
}

bool
redis_is_quiet(const struct redis *r)
{
	char byte;

	return !r->dead && r->reader->pos == r->reader->len &&
	       recv(r->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == -1 && errno == EAGAIN;
}

int
redis_fd(const struct redis *r)
{
	return r->fd;
}
