/*
 * The reactor: connections from accept to close, and nothing of what a request means.
 *
 *   accept --> IDLE --bytes--> ARRIVING --whole--> IN_HAND --reply--> REPLYING --sent--+--> LINGERING
 *                ^                                                                     |    body unread
 *                +-------------------------------- kept -------------------------------+
 *
 * Edge-triggered: a connection is looked at when bytes arrive.  A request that lies whole in the socket is
 * taken at once; what arrives later makes a new edge, so nothing is peeked at twice.
 */
#include "runtime/reactor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/hash.h"
#include "base/log.h"
#include "client/fcgi.h"
#include "pipeline/exchange.h"
#include "telemetry/activity.h"

enum {
	EVENTS_A_TURN = 64,
	ACCEPTS_A_TURN = 4, /* few, so that the workers of a host share a burst of connections */
	LISTENERS_MAX = 4,
	ENDED = EPOLLRDHUP | EPOLLHUP | EPOLLERR, /* nothing more will come */
	GONE = EPOLLHUP | EPOLLERR,		  /* nobody is there to read an answer */
};

enum phase {
	PHASE_IDLE,
	PHASE_ARRIVING,
	PHASE_IN_HAND,
	PHASE_REPLYING,
	PHASE_LINGERING, /* answered, and what the front still sends is dropped until it closes */
	PHASE_CLOSED
};

struct connection {
	struct source source;
	struct reactor *reactor;
	struct fcgi *fcgi;
	struct exchange *x;
	struct timer timer; /* ARRIVING, REPLYING and LINGERING only */
	enum phase phase;
	uint64_t front; /* as in the exchange */
	bool last;	/* no request can come after this one */
	bool parts;	/* none shall: it closes after the next reply ... */
	bool parting;	/* ... which is this one */
	bool gone;	/* told to ops->gone() */
	bool rang;	/* an edge came while we were busy: look again */
	struct connection *next, **prev;
};

struct listener {
	struct source source;
	struct reactor *reactor;
	const struct cidr *allow;
	size_t allow_count;
	bool tcp;
};

struct reactor {
	struct reactor_options o;
	int ep;
	int64_t now_ms;
	struct timers timers;
	struct listener listeners[LISTENERS_MAX];
	size_t listener_count;
	struct connection *connections,
	    *closed; /* closed: freed at the end of the turn, events may still name them */
	size_t connection_count;
	bool draining;
	struct timer stepped_back; /* runs: accepts nothing until then */
	struct log_gate refused_gate, accept_gate;
};

static void serve(struct connection *c);

int64_t
reactor_now_ms(const struct reactor *r)
{
	return r->now_ms;
}

size_t
reactor_connections(const struct reactor *r)
{
	return r->connection_count;
}

bool
reactor_timer(struct reactor *r, struct timer *t, int64_t at_ms)
{
	return timers_set(&r->timers, t, at_ms);
}

void
reactor_timer_stop(struct reactor *r, struct timer *t)
{
	timers_stop(&r->timers, t);
}

static void
connection_link(struct connection **list, struct connection *c)
{
	c->next = *list;
	c->prev = list;
	if (c->next != NULL)
		c->next->prev = &c->next;
	*list = c;
}

static void
connection_unlink(struct connection *c)
{
	*c->prev = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
}

/* The exchange, if any, has been cut off before. */
static void
connection_close(struct connection *c)
{
	struct reactor *r = c->reactor;

	timers_stop(&r->timers, &c->timer);
	/* A child that is just being forked has the descriptor too, so closing ours does not yet end its events. */
	reactor_unwatch(r, &c->source);
	fcgi_close(&c->fcgi);
	c->phase = PHASE_CLOSED;
	connection_unlink(c);
	connection_link(&r->closed, c);
	r->connection_count--;
}

static void
give_exchange(struct connection *c)
{
	struct exchange *x = c->x;

	c->x = NULL;
	x->owner = NULL;
	c->reactor->o.ops->give(c->reactor->o.ctx, x);
}

static void
say_refused(struct connection *c, const char *why)
{
	struct reactor *r = c->reactor;
	uint64_t held;

	r->o.ops->refused(r->o.ctx);
	if (log_gate_open(&r->refused_gate, r->now_ms, &held))
		log_info("connection_refused", LOG_STR("why", why), LOG_INT("suppressed", held));
}

static void
refuse(struct connection *c, const char *why)
{
	say_refused(c, why);
	connection_close(c);
}

static void
drop_what_comes(struct connection *c)
{
	if (!fcgi_discard(c->fcgi))
		connection_close(c);
}

static void
linger(struct connection *c)
{
	struct reactor *r = c->reactor;

	c->phase = PHASE_LINGERING;
	fcgi_finish_sending(c->fcgi);
	(void)timers_set(&r->timers, &c->timer, r->now_ms + r->o.arrive_ms);
	drop_what_comes(c);
}

static bool
body_is_unread(const struct connection *c)
{
	return c->x->body_is_large && !fcgi_body_taken(c->fcgi);
}

/* The reply is out, or cannot go out: what becomes of the connection?  The exchange goes first, for what
 * it says of the request is borrowed from the parameters. */
static void
reply_done(struct connection *c, bool sent)
{
	struct reactor *r = c->reactor;
	const bool unread = body_is_unread(c);
	bool keep;

	timers_stop(&r->timers, &c->timer);
	give_exchange(c);
	keep = fcgi_end(c->fcgi);
	if (sent && unread) {
		linger(c);
		return;
	}
	/* Whoever read the reply may have sent the next request before we come to close: Apache would not send it again. */
	if (!keep || !sent || c->last || (c->parting && !fcgi_has_more(c->fcgi))) {
		connection_close(c);
		return;
	}
	c->phase = PHASE_IDLE;
	if (c->rang)
		(void)timers_set(
		    &r->timers, &c->timer, r->now_ms); /* looks again before the next wait */
}

static void
want_writable(struct connection *c, bool on)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET,
		.data.ptr = &c->source };

	if (on)
		ev.events |= EPOLLOUT;
	(void)epoll_ctl(c->reactor->ep, EPOLL_CTL_MOD, c->source.fd, &ev);
}

static void
send_more(struct connection *c)
{
	const enum err rc = fcgi_send(c->fcgi);

	if (rc == ERR_TIMEOUT)
		return;
	want_writable(c, false);
	reply_done(c, rc == ERR_OK);
}

/* The body of a request that was answered without it; only when it cannot block. */
static void
drop_body(struct connection *c)
{
	size_t total;

	if (!c->x->body_is_large && !fcgi_body_taken(c->fcgi))
		(void)fcgi_body(c->fcgi, NULL, 0, &total);
}

void
reactor_reply(struct reactor *r, struct exchange *x)
{
	struct connection *c = x->owner;
	const struct slice head = response_head(&x->response, &x->arena);
	const struct slice body = x->response.head_only ? (struct slice){ 0 } : x->response.body;
	enum err rc;

	drop_body(c);
	if (head.ptr == NULL) { /* no memory even for the head: the front says 502 */
		reply_done(c, false);
		return;
	}
	c->phase = PHASE_REPLYING;
	c->parting = r->draining || c->parts;
	rc = fcgi_reply(c->fcgi, head, body, c->parting);
	if (rc != ERR_TIMEOUT) {
		reply_done(c, rc == ERR_OK);
		return;
	}
	want_writable(c, true);
	(void)timers_set(&r->timers, &c->timer, r->now_ms + r->o.arrive_ms);
}

void
reactor_detach(struct reactor *r, struct exchange *x)
{
	struct connection *c = x->owner;

	(void)r;
	give_exchange(c);
	connection_close(c);
}

enum err
reactor_body(struct exchange *x, char *out, size_t cap, size_t *total_out)
{
	struct connection *c = x->owner;

	return fcgi_body(c->fcgi, out, cap, total_out);
}

void
reactor_stop_body(struct reactor *r, struct exchange *x)
{
	struct connection *c = x->owner;

	(void)r;
	if (c != NULL)
		(void)shutdown(c->source.fd, SHUT_RD);
}

static void
timed_out(struct timer *t)
{
	struct connection *c = CONTAINER_OF(t, struct connection, timer);

	if (c->phase == PHASE_REPLYING)
		reply_done(c, false);
	else if (c->phase == PHASE_IDLE)
		serve(c);
	else if (c->phase == PHASE_LINGERING)
		connection_close(c);
	else
		refuse(c, "request did not arrive in time");
}

static void
too_large(struct connection *c)
{
	static const char body[] = "{\"type\":\"about:blank\",\"title\":\"Request Header Fields "
				   "Too Large\",\"status\":431,\"detail\":\"all header fields "
				   "and parameters of a request together: at most 64 KiB\"}";
	static const char head[] =
	    "Status: 431 Request Header Fields Too Large\r\n"
	    "Content-Type: application/problem+json\r\nCache-Control: no-store\r\n\r\n";

	fcgi_refuse(c->fcgi, SLICE(head), SLICE(body));
	say_refused(c, "parameters over 64 KiB");
	linger(c);
}

static void
begin(struct connection *c, bool large)
{
	struct reactor *r = c->reactor;
	struct exchange *x = r->o.ops->take(r->o.ctx);

	timers_stop(&r->timers, &c->timer);
	if (x == NULL) {
		refuse(c, "no memory");
		return;
	}
	c->x = x;
	x->owner = c;
	x->body_is_large = large;
	x->front = c->front;
	c->phase = PHASE_IN_HAND;
	if (fcgi_accept(c->fcgi, &x->envp) != ERR_OK) {
		give_exchange(c);
		refuse(c, "broken parameters");
		return;
	}
	r->o.ops->request(r->o.ctx, x);
}

static void
arriving(struct connection *c)
{
	if (c->phase == PHASE_IDLE)
		(void)timers_set(
		    &c->reactor->timers, &c->timer, c->reactor->now_ms + c->reactor->o.arrive_ms);
	c->phase = PHASE_ARRIVING;
}

/* Takes what lies in the socket: at most one request, for the front sends the next only after our reply. */
static void
serve(struct connection *c)
{
	enum fcgi_arrival a;

	c->rang = false;
	do
		a = fcgi_look(c->fcgi);
	while (a == FCGI_ANSWERED);
	switch (a) {
	case FCGI_WHOLE:
	case FCGI_LARGE:
		begin(c, a == FCGI_LARGE);
		break;
	case FCGI_PARTIAL:
		arriving(c);
		break;
	case FCGI_NOTHING: /* an edge for bytes that were taken already */
	case FCGI_ANSWERED:
		break;
	case FCGI_TOO_LARGE:
		too_large(c);
		break;
	case FCGI_CLOSED:
		connection_close(c);
		break;
	case FCGI_BAD:
		refuse(c, "not a FastCGI request");
		break;
	}
}

/* A front may close its sending side and still want the answer; one that is gone altogether does not. */
static void
tell_gone(struct connection *c, uint32_t events)
{
	if ((events & GONE) == 0 || c->gone)
		return;
	c->gone = true;
	c->reactor->o.ops->gone(c->reactor->o.ctx, c->x);
}

/* One edge may bring a request and the front's end together, and there will be no other edge for the end. */
static void
connection_ready(struct source *s, uint32_t events)
{
	struct connection *c = CONTAINER_OF(s, struct connection, source);

	if (events & ENDED)
		c->last = true;
	switch (c->phase) {
	case PHASE_IDLE:
	case PHASE_ARRIVING:
		serve(c);
		if (c->phase == PHASE_ARRIVING && c->last)
			refuse(c,
			    "cut off inside a request"); /* the peek still shows what came before */
		else if (c->phase == PHASE_IN_HAND)
			tell_gone(c, events);
		break;
	case PHASE_REPLYING:
		c->rang = true;
		send_more(c);
		break;
	case PHASE_IN_HAND:
		c->rang = true;
		tell_gone(c, events);
		break;
	case PHASE_LINGERING:
		drop_what_comes(c);
		break;
	case PHASE_CLOSED:
		break;
	}
}

static bool
is_loopback(const struct sockaddr_storage *ss)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

	if (ss->ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
	       (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) &&
		   v6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
}

/* *${front_out}: which front server it is, 0 when it is on this host and so has our clock. */
static bool
peer_allowed(const struct listener *l, int fd, uint64_t *front_out)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	char text[INET6_ADDRSTRLEN];
	const void *address;

	*front_out = 0;
	if (!l->tcp)
		return true;
	if (getpeername(fd, (struct sockaddr *)&ss, &len) == -1)
		return false;
	address = ss.ss_family == AF_INET6 ? (const void *)&((struct sockaddr_in6 *)&ss)->sin6_addr
					   : (const void *)&((struct sockaddr_in *)&ss)->sin_addr;
	if (inet_ntop(ss.ss_family, address, text, sizeof text) == NULL)
		return false;
	if (!is_loopback(&ss))
		*front_out = hash64(0, text, strlen(text)) | 1;
	return cidr_list_has(l->allow, l->allow_count, slice_of(text));
}

static void
connection_open(struct listener *l, int fd, uint64_t front)
{
	struct reactor *r = l->reactor;
	struct connection *c = calloc(1, sizeof *c);
	const int on = 1;

	if (c == NULL || fcgi_open(fd, &c->fcgi) != ERR_OK) {
		free(c);
		(void)close(fd);
		return;
	}
	if (l->tcp)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	c->source = (struct source){ .ready = connection_ready, .fd = fd };
	c->reactor = r;
	c->front = front;
	c->timer.fire = timed_out;
	connection_link(&r->connections, c);
	r->connection_count++;
	/* Bytes that are there already make the first edge. */
	if (epoll_ctl(r->ep, EPOLL_CTL_ADD, fd,
		&(struct epoll_event){
		    .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = &c->source }) == -1)
		connection_close(c);
}

static void
listener_ready(struct source *s, uint32_t events)
{
	struct listener *l = CONTAINER_OF(s, struct listener, source);
	uint64_t held, front;

	(void)events;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		const int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd == -1) {
			/* EMFILE and its like would spin on a level-triggered listener: breathe instead. */
			if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
				if (log_gate_open(
					&l->reactor->accept_gate, l->reactor->now_ms, &held))
					log_warn("accept_failed",
					    LOG_STR("reason", strerror(errno)),
					    LOG_INT("suppressed", held));
				(void)usleep(1000);
			}
			return;
		}
		if (peer_allowed(l, fd, &front)) {
			connection_open(l, fd, front);
		} else {
			l->reactor->o.ops->refused(l->reactor->o.ctx);
			(void)close(fd);
		}
	}
}

enum err
reactor_watch(struct reactor *r, struct source *s)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = s };

	return epoll_ctl(r->ep, EPOLL_CTL_ADD, s->fd, &ev) == 0 ? ERR_OK : ERR_IO;
}

void
reactor_unwatch(struct reactor *r, struct source *s)
{
	(void)epoll_ctl(r->ep, EPOLL_CTL_DEL, s->fd, NULL);
}

static enum err
listener_watch(struct listener *l)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = &l->source };

	return epoll_ctl(l->reactor->ep, EPOLL_CTL_ADD, l->source.fd, &ev) == 0 ? ERR_OK : ERR_IO;
}

enum err
reactor_listen(struct reactor *r, int listen_fd, const struct cidr *allow, size_t allow_count)
{
	struct listener *l = &r->listeners[r->listener_count];
	int domain = AF_UNIX;
	socklen_t len = sizeof domain;

	if (r->listener_count == LISTENERS_MAX)
		return ERR_FULL;
	if (getsockopt(listen_fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == -1 ||
	    fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK) == -1)
		return ERR_IO;
	*l = (struct listener){ .source = { .ready = listener_ready, .fd = listen_fd },
		.reactor = r,
		.allow = allow,
		.allow_count = allow_count,
		.tcp = domain != AF_UNIX };
	if (listener_watch(l) != ERR_OK)
		return ERR_IO;
	r->listener_count++;
	return ERR_OK;
}

enum err
reactor_open(const struct reactor_options *o, struct reactor **out)
{
	struct reactor *r = calloc(1, sizeof *r);

	if (r == NULL)
		return ERR_NOMEM;
	r->o = *o;
	r->now_ms = clock_mono_ms();
	r->ep = epoll_create1(EPOLL_CLOEXEC);
	if (r->ep == -1) {
		free(r);
		return ERR_IO;
	}
	*out = r;
	return ERR_OK;
}

static void
free_closed(struct reactor *r)
{
	while (r->closed != NULL) {
		struct connection *c = r->closed;

		r->closed = c->next;
		free(c);
	}
}

static void
say_whether_waiting(const struct reactor *r, bool waits)
{
	if (r->o.activity != NULL)
		activity_waits(r->o.activity, waits);
}

void
reactor_turn(struct reactor *r, int64_t most_ms)
{
	struct epoll_event events[EVENTS_A_TURN];
	const int wait = (int)timers_wait_ms(&r->timers, clock_mono_ms(), most_ms);
	int n;

	say_whether_waiting(r, true);
	n = epoll_wait(r->ep, events, EVENTS_A_TURN, wait);
	say_whether_waiting(r, false);
	r->now_ms = clock_mono_ms();
	log_hold();
	for (int i = 0; i < n; i++) {
		struct source *s = events[i].data.ptr;

		s->ready(s, events[i].events);
	}
	timers_run(&r->timers, r->now_ms);
	log_release();
	free_closed(r);
}

static void
step_forward(struct timer *t)
{
	struct reactor *r = CONTAINER_OF(t, struct reactor, stepped_back);

	for (size_t i = 0; i < r->listener_count; i++)
		(void)listener_watch(&r->listeners[i]);
}

void
reactor_step_back(struct reactor *r, int64_t ms)
{
	r->stepped_back.fire = step_forward;
	for (size_t i = 0; i < r->listener_count; i++)
		reactor_unwatch(r, &r->listeners[i].source);
	for (struct connection *c = r->connections; c != NULL; c = c->next)
		c->parts = true;
	if (!timers_set(&r->timers, &r->stepped_back, r->now_ms + ms))
		step_forward(&r->stepped_back); /* no memory for a timer */
}

void
reactor_drain(struct reactor *r, bool now)
{
	struct connection *next;

	for (size_t i = 0; i < r->listener_count; i++)
		reactor_unwatch(r, &r->listeners[i].source);
	r->listener_count = 0;
	r->draining = true;
	for (struct connection *c = r->connections; now && c != NULL; c = next) {
		next = c->next;
		if (c->phase != PHASE_IN_HAND && c->phase != PHASE_REPLYING)
			connection_close(c);
	}
}

void
reactor_close(struct reactor **rp)
{
	struct reactor *r = *rp;

	if (r == NULL)
		return;
	while (r->connections != NULL) { /* ops->give() may still stop timers of *${rp} */
		if (r->connections->x != NULL)
			give_exchange(r->connections);
		connection_close(r->connections);
	}
	*rp = NULL;
	free_closed(r);
	timers_free(&r->timers);
	(void)close(r->ep);
	free(r);
}
