/*
 * FastCGI over one connection: looking before libfcgi reads, and framing replies without blocking.
 *
 * Not here: when to look (runtime/reactor.c), what a request means (http/request.c).
 */
#include "client/fcgi.h"

#include <errno.h>
#include <fcgiapp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	PEEK_BYTES = 65536,
	/* A front that sends small records (Apache: 8 KiB) fills a unix socket before as much as that can be peeked at. */
	LARGE_BYTES = 32768,
	HEADER_BYTES = 8,
	RECORD_MAX = 65535 - 65535 % 8, /* of content; a multiple of 8 needs no padding */
	RECORDS_A_CALL = 4,
	TRAILER_BYTES = 3 * HEADER_BYTES, /* empty STDOUT, END_REQUEST with its body */
	PARTING_BYTES = HEADER_BYTES,	  /* empty STDOUT once more */
	DROPPED_MAX = 64 << 20,		  /* of a body that nobody wants */
};

/* FastCGI 1.0 specification, section 8. */
enum {
	TYPE_BEGIN = 1,
	TYPE_ABORT = 2,
	TYPE_END = 3,
	TYPE_PARAMS = 4,
	TYPE_STDIN = 5,
	TYPE_STDOUT = 6,
	TYPE_GET_VALUES = 9,
	TYPE_GET_VALUES_RESULT = 10,
	TYPE_UNKNOWN = 11,
	ROLE_RESPONDER = 1,
};

/* A reply is a stream of framed bytes: records of head and body, then the trailer; where it stands is one number. */
struct reply {
	struct slice head, body;
	size_t sent;
	bool parting; /* with a record behind the end */
};

struct fcgi {
	FCGX_Request request;
	int fd;
	bool accepted, body_taken;
	bool
	    more_behind; /* bytes follow the request: libfcgi may have swallowed them, so do not keep */
	size_t discarded; /* by fcgi_discard() */
	struct reply reply;
};

void
fcgi_init(void)
{
	(void)FCGX_Init();
	/* The library's own handlers only set a flag; ours are the reactor's. */
	(void)signal(SIGTERM, SIG_DFL);
	(void)signal(SIGUSR1, SIG_DFL);
	(void)signal(SIGPIPE, SIG_IGN);
}

bool
fcgi_is_listening(int fd)
{
	int on = 0;
	socklen_t len = sizeof on;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on != 0;
}

enum err
fcgi_open(int fd, struct fcgi **out)
{
	struct fcgi *c = calloc(1, sizeof *c);

	if (c == NULL)
		return ERR_NOMEM;
	(void)FCGX_InitRequest(&c->request, -1, 0); /* it must never accept by itself */
	c->fd = fd;
	c->request.ipcFd = fd;
	*out = c;
	return ERR_OK;
}

void
fcgi_close(struct fcgi **cp)
{
	struct fcgi *c = *cp;

	if (c == NULL)
		return;
	*cp = NULL;
	FCGX_Free(&c->request, 0);
	if (c->fd != -1)
		(void)close(c->fd);
	free(c);
}

int
fcgi_fd(const struct fcgi *c)
{
	return c->fd;
}

static size_t
content_length(const unsigned char *h)
{
	return (size_t)h[4] << 8 | h[5];
}

static unsigned
request_id(const unsigned char *h)
{
	return (unsigned)h[2] << 8 | h[3];
}

static size_t
put_header(unsigned char *h, int type, unsigned id, size_t content)
{
	h[0] = 1;
	h[1] = (unsigned char)type;
	h[2] = (unsigned char)(id >> 8);
	h[3] = (unsigned char)id;
	h[4] = (unsigned char)(content >> 8);
	h[5] = (unsigned char)content;
	h[6] = 0;
	h[7] = 0;
	return HEADER_BYTES;
}

static size_t
put_pair(unsigned char *out, const char *name, const char *value)
{
	const size_t n = strlen(name), v = strlen(value);

	out[0] = (unsigned char)n;
	out[1] = (unsigned char)v;
	memcpy(out + 2, name, n);
	memcpy(out + 2 + n, value, v);
	return 2 + n + v;
}

static bool
drop(int fd, size_t len)
{
	char bytes[512];
	ssize_t n;

	for (; len > 0; len -= (size_t)n) {
		n = recv(fd, bytes, len < sizeof bytes ? len : sizeof bytes, MSG_DONTWAIT);
		if (n <= 0)
			return false;
	}
	return true;
}

/* Answers the management record of ${bytes} whole, and takes it from the socket. */
static enum fcgi_arrival
answer_management(struct fcgi *c, const unsigned char *h, size_t record)
{
	const unsigned char type = h[1];
	unsigned char out[128];
	size_t at = HEADER_BYTES;

	if (!drop(c->fd, record))
		return FCGI_BAD;
	if (type == TYPE_GET_VALUES) {
		at += put_pair(out + at, "FCGI_MAX_CONNS", "4096");
		at += put_pair(out + at, "FCGI_MAX_REQS", "4096");
		at += put_pair(out + at, "FCGI_MPXS_CONNS", "0");
		(void)put_header(out, TYPE_GET_VALUES_RESULT, 0, at - HEADER_BYTES);
	} else {
		(void)put_header(out, TYPE_UNKNOWN, 0, HEADER_BYTES);
		memset(out + at, 0, HEADER_BYTES);
		out[at] = type;
		at += HEADER_BYTES;
	}
	if (send(c->fd, out, at, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)at)
		return FCGI_CLOSED;
	return FCGI_ANSWERED;
}

/*
 * Where the walk along the name-value pairs of the parameters stands (section 3.4): libfcgi believes their
 * lengths, and asks malloc() for up to 4 GiB.
 */
struct pairs {
	enum { PAIRS_NAME_LENGTH, PAIRS_VALUE_LENGTH, PAIRS_BYTES } at;
	unsigned more;	 /* bytes of the length that is being read */
	uint64_t length; /* that length */
	uint64_t bytes;	 /* of name and value, still to come */
};

static void
pairs_length_read(struct pairs *p)
{
	p->bytes = p->at == PAIRS_NAME_LENGTH ? p->length : p->bytes + p->length;
	p->at = p->at == PAIRS_NAME_LENGTH ? PAIRS_VALUE_LENGTH : PAIRS_BYTES;
	p->length = 0;
	if (p->at == PAIRS_BYTES && p->bytes == 0)
		p->at = PAIRS_NAME_LENGTH;
}

static void
pairs_length_byte(struct pairs *p, unsigned char byte)
{
	if (p->more > 0) {
		p->length = p->length << 8 | byte;
		if (--p->more == 0)
			pairs_length_read(p);
	} else if (byte & 0x80) {
		p->length = byte & 0x7f;
		p->more = 3;
	} else {
		p->length = byte;
		pairs_length_read(p);
	}
}

static void
pairs_step(struct pairs *p, const unsigned char *bytes, size_t n)
{
	size_t skip;

	while (n > 0) {
		skip = 1;
		if (p->at != PAIRS_BYTES) {
			pairs_length_byte(p, *bytes);
		} else {
			skip = p->bytes < n ? (size_t)p->bytes : n;
			p->bytes -= skip;
			if (p->bytes == 0)
				p->at = PAIRS_NAME_LENGTH;
		}
		bytes += skip;
		n -= skip;
	}
}

static bool
pairs_are_whole(const struct pairs *p)
{
	return p->at == PAIRS_NAME_LENGTH && p->more == 0;
}

/* Where the walk along the records of one request stands. */
struct walk {
	enum { WALK_BEGIN, WALK_PARAMS, WALK_STDIN, WALK_END } at;
	unsigned id;
	struct pairs pairs;
};

/* One more record header; false when it has no place there. */
static bool
walk_step(struct walk *w, const unsigned char *h, const unsigned char *content, size_t have)
{
	const size_t len = content_length(h);

	if (h[0] != 1 || (w->at != WALK_BEGIN && request_id(h) != w->id))
		return false;
	switch (w->at) {
	case WALK_BEGIN:
		w->id = request_id(h);
		w->at = WALK_PARAMS;
		/* The role is in the first two bytes; when they are not here yet, the next look sees them. */
		return h[1] == TYPE_BEGIN && len == 8 &&
		       (have < 2 || (content[0] == 0 && content[1] == ROLE_RESPONDER));
	case WALK_PARAMS:
		if (h[1] != TYPE_PARAMS)
			return false;
		pairs_step(&w->pairs, content, len < have ? len : have);
		if (len > 0)
			return true;
		w->at = WALK_STDIN;
		return pairs_are_whole(&w->pairs);
	case WALK_STDIN:
		if (len == 0)
			w->at = WALK_END;
		return h[1] == TYPE_STDIN;
	case WALK_END:
		break;
	}
	return false;
}

static enum fcgi_arrival
walk_records(struct fcgi *c, const unsigned char *bytes, size_t n)
{
	struct walk w = { .at = WALK_BEGIN };
	size_t at = 0;

	while (at + HEADER_BYTES <= n && w.at != WALK_END) {
		const unsigned char *h = bytes + at;
		const size_t record = HEADER_BYTES + content_length(h) + h[6];

		if (h[0] == 1 && at == 0 && request_id(h) == 0) {
			if (record > n)
				return n == PEEK_BYTES ? FCGI_BAD : FCGI_PARTIAL;
			return answer_management(c, h, record);
		}
		if (!walk_step(&w, h, h + HEADER_BYTES, n - at - HEADER_BYTES))
			return FCGI_BAD;
		at += record;
	}
	c->more_behind = w.at == WALK_END && at < n;
	if (w.at == WALK_END && at <= n)
		return FCGI_WHOLE;
	if (w.at == WALK_STDIN && n >= LARGE_BYTES)
		return FCGI_LARGE;
	return n < PEEK_BYTES ? FCGI_PARTIAL : FCGI_TOO_LARGE;
}

static _Thread_local unsigned char window[PEEK_BYTES]; /* for one call only */

enum fcgi_arrival
fcgi_look(struct fcgi *c)
{
	const ssize_t n = recv(c->fd, window, sizeof window, MSG_PEEK | MSG_DONTWAIT);

	if (n == 0)
		return FCGI_CLOSED;
	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? FCGI_NOTHING : FCGI_CLOSED;
	return walk_records(c, window, (size_t)n);
}

enum err
fcgi_accept(struct fcgi *c, const char *const **envp_out)
{
	c->body_taken = false;
	c->request.keepConnection =
	    1; /* FCGX_Accept_r begins with FCGX_Finish_r, which would close it */
	if (FCGX_Accept_r(&c->request) != 0) {
		c->fd = c->request.ipcFd; /* -1: the library has closed it */
		return ERR_INVALID;
	}
	c->accepted = true;
	*envp_out = (const char *const *)c->request.envp;
	return ERR_OK;
}

enum err
fcgi_body(struct fcgi *c, char *out, size_t cap, size_t *total_out)
{
	char dropped[8192];
	size_t total = 0;

	for (;;) {
		const bool keep = total < cap;
		const size_t want =
		    keep && cap - total < sizeof dropped ? cap - total : sizeof dropped;
		const int n = FCGX_GetStr(keep ? out + total : dropped, (int)want, c->request.in);

		if (n > 0)
			total += (size_t)n;
		*total_out = total;
		if (n < (int)want)
			break; /* the end of STDIN, or an error */
		if (total > cap + DROPPED_MAX)
			return ERR_TOO_LARGE;
	}
	c->body_taken = true;
	if (FCGX_GetError(c->request.in) == 0)
		return ERR_OK;
	c->more_behind = true; /* whatever comes now is the middle of something */
	return ERR_IO;
}

bool
fcgi_body_taken(const struct fcgi *c)
{
	return c->body_taken;
}

/* The framed reply from ${sent} on, as pieces for sendmsg(); at most 4 records a call. */
struct pieces {
	struct iovec v[RECORDS_A_CALL * 3 + 1];
	size_t count;
	size_t skip; /* bytes of the first record that are sent already */
	unsigned char headers[RECORDS_A_CALL][HEADER_BYTES];
	unsigned char trailer[TRAILER_BYTES + PARTING_BYTES];
};

static void
add_piece(struct pieces *p, const void *bytes, size_t len)
{
	const size_t skipped = p->skip < len ? p->skip : len;

	p->skip -= skipped;
	if (len == skipped)
		return;
	p->v[p->count].iov_base = (void *)((uintptr_t)bytes + skipped);
	p->v[p->count].iov_len = len - skipped;
	p->count++;
}

static size_t
clamp_sub(size_t a, size_t b)
{
	return a > b ? a - b : 0;
}

/* Content bytes [from, to) of head and body taken as one string. */
static void
add_content(struct pieces *p, const struct reply *r, size_t from, size_t to)
{
	const size_t h = r->head.len;

	if (from < h)
		add_piece(p, r->head.ptr + from, (to < h ? to : h) - from);
	if (to > h)
		add_piece(p, r->body.ptr + clamp_sub(from, h), to - (from > h ? from : h));
}

static void
add_trailer(struct pieces *p, unsigned id, bool parting)
{
	unsigned char *t = p->trailer;

	t += put_header(t, TYPE_STDOUT, id, 0);
	t += put_header(t, TYPE_END, id, HEADER_BYTES);
	memset(t, 0, HEADER_BYTES); /* status 0, FCGI_REQUEST_COMPLETE */
	t += HEADER_BYTES;
	if (parting)
		t += put_header(t, TYPE_STDOUT, id, 0);
	add_piece(p, p->trailer, (size_t)(t - p->trailer));
}

static void
frame(struct pieces *p, const struct reply *r, unsigned id)
{
	const size_t total = r->head.len + r->body.len;
	size_t record = r->sent / (HEADER_BYTES + RECORD_MAX);

	p->count = 0;
	p->skip = r->sent - record * (HEADER_BYTES + RECORD_MAX);
	for (int i = 0; i < RECORDS_A_CALL && record * RECORD_MAX < total; i++, record++) {
		const size_t from = record * RECORD_MAX;
		const size_t to = total - from < RECORD_MAX ? total : from + RECORD_MAX;

		(void)put_header(p->headers[i], TYPE_STDOUT, id, to - from);
		add_piece(p, p->headers[i], HEADER_BYTES);
		add_content(p, r, from, to);
	}
	if (record * RECORD_MAX >= total)
		add_trailer(p, id, r->parting);
}

static size_t
framed_length(const struct reply *r)
{
	const size_t total = r->head.len + r->body.len;

	return total + (total + RECORD_MAX - 1) / RECORD_MAX * HEADER_BYTES + TRAILER_BYTES +
	       (r->parting ? PARTING_BYTES : 0);
}

enum err
fcgi_send(struct fcgi *c)
{
	struct reply *r = &c->reply;
	const size_t length = framed_length(r);
	struct pieces p;
	ssize_t n;

	while (r->sent < length) {
		frame(&p, r, (unsigned)c->request.requestId);
		n = sendmsg(c->fd, &(struct msghdr){ .msg_iov = p.v, .msg_iovlen = p.count },
		    MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return errno == EAGAIN || errno == ENOBUFS ? ERR_TIMEOUT : ERR_IO;
		r->sent += (size_t)n;
	}
	return ERR_OK;
}

static bool
is_apache(const struct fcgi *c)
{
	const char *software = FCGX_GetParam("SERVER_SOFTWARE", c->request.envp);

	return software != NULL && strncmp(software, "Apache", 6) == 0;
}

enum err
fcgi_reply(struct fcgi *c, struct slice head, struct slice body, bool last)
{
	c->reply = (struct reply){ .head = head, .body = body, .parting = last && !is_apache(c) };
	return fcgi_send(c);
}

void
fcgi_finish_sending(struct fcgi *c)
{
	(void)shutdown(c->fd, SHUT_WR);
}

bool
fcgi_discard(struct fcgi *c)
{
	ssize_t n;

	while (c->discarded < DROPPED_MAX) {
		n = recv(c->fd, window, sizeof window, MSG_DONTWAIT);
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == -1 && errno == EAGAIN;
		c->discarded += (size_t)n;
	}
	return false;
}

bool
fcgi_end(struct fcgi *c)
{
	const bool keep = c->request.keepConnection && c->body_taken && !c->more_behind;

	FCGX_Free(&c->request, 0);
	c->accepted = false;
	return keep;
}

void
fcgi_refuse(struct fcgi *c, struct slice head, struct slice body)
{
	c->request.requestId = 1; /* what every front server uses; the parameters were never read */
	(void)fcgi_reply(c, head, body, false);
}
