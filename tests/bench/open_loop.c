/*
 * Load that does not wait: requests leave at their rate, whatever becomes of those before them, as people do.
 *
 *   open_loop PORT PATH WARM_SECONDS SECONDS SLICE_MS STREAM...     STREAM is RATE[,HEADER: VALUE]
 *
 * A latency counts from when its request should have left, so a server that stalls is not spared what it kept from
 * being sent.  Prints one line of JSON: for each stream how many answers had which status, and the latencies of
 * those with 200 and 503; and how many 200 came in each slice of the time.  The first WARM_SECONDS are sent, not counted.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
	STREAMS = 64,
	CONNECTIONS = 8192,
	REQUEST_BYTES = 1024,
	ANSWER_BYTES = 32768,
	SLICES = 4096,
	EVENTS = 256,
	LAST_WAIT_S = 5, /* after the last one has left */
};

struct latencies {
	uint32_t *us;
	size_t count, cap;
};

struct stream {
	double rate;
	char request[REQUEST_BYTES];
	size_t request_len;
	uint64_t sent, next; /* counted ones; the next one's number from the beginning */
	struct latencies good, shed;
	uint64_t other, broken;
};

struct connection {
	int fd;
	struct stream *stream; /* NULL: idle */
	int64_t due_ns;
	size_t out, in; /* bytes written, read */
	char answer[ANSWER_BYTES];
	struct connection *next;
};

static struct stream streams[STREAMS];
static size_t stream_count, open_count, flying;
static struct connection *idle;
static struct sockaddr_in server;
static int ep;
static int64_t began_ns, counted_ns, end_ns, slice_ns;
static uint32_t slices[SLICES];

static int64_t
now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void
add(struct latencies *l, int64_t ns)
{
	if (l->count == l->cap) {
		l->cap = l->cap == 0 ? 4096 : 2 * l->cap;
		l->us = reallocarray(l->us, l->cap, sizeof *l->us);
		if (l->us == NULL)
			die("memory");
	}
	l->us[l->count++] = (uint32_t)(ns / 1000);
}

static struct connection *
connection_open(void)
{
	struct connection *c;
	const int on = 1;

	if (open_count == CONNECTIONS)
		return NULL;
	c = calloc(1, sizeof *c);
	if (c == NULL)
		die("memory");
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd == -1)
		die("socket");
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(c->fd, (const struct sockaddr *)&server, sizeof server) == -1 &&
	    errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd,
		&(struct epoll_event){
		    .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c }) == -1)
		die("epoll_ctl");
	open_count++;
	return c;
}

static void
connection_close(struct connection *c)
{
	(void)close(c->fd);
	open_count--;
	free(c);
}

static bool
is_counted(const struct connection *c)
{
	return c->due_ns >= counted_ns;
}

static void
finished(struct connection *c, int status)
{
	struct stream *s = c->stream;
	const int64_t now = now_ns(), took = now - c->due_ns;

	flying--;
	if (is_counted(c)) {
		if (status == 200)
			add(&s->good, took);
		else if (status == 503)
			add(&s->shed, took);
		else if (status > 0)
			s->other++;
		else
			s->broken++;
	}
	if (status == 200 && now >= counted_ns && (now - counted_ns) / slice_ns < SLICES)
		slices[(now - counted_ns) / slice_ns]++;
	c->stream = NULL;
	c->in = c->out = 0;
}

static void
lost(struct connection *c)
{
	if (c->stream != NULL)
		finished(c, 0);
	for (struct connection **p = &idle; *p != NULL; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	connection_close(c);
}

static bool
write_more(struct connection *c)
{
	while (c->stream != NULL && c->out < c->stream->request_len) {
		const ssize_t n =
		    write(c->fd, c->stream->request + c->out, c->stream->request_len - c->out);

		if (n == -1)
			return errno == EAGAIN;
		c->out += (size_t)n;
	}
	return true;
}

/* A whole answer has a head, and as many bytes as its Content-Length says, or ends with the last chunk. */
static bool
is_whole(const struct connection *c)
{
	const char *end = strstr(c->answer, "\r\n\r\n"), *length;

	if (end == NULL)
		return false;
	length = strcasestr(c->answer, "\r\nContent-Length:");
	if (length != NULL && length < end)
		return c->in >= (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10);
	return strcmp(c->answer + c->in - 5, "0\r\n\r\n") == 0;
}

static bool
read_more(struct connection *c)
{
	for (;;) {
		const ssize_t n = read(c->fd, c->answer + c->in, ANSWER_BYTES - 1 - c->in);

		if (n == -1)
			return errno == EAGAIN;
		if (n == 0)
			return false;
		c->in += (size_t)n;
		c->answer[c->in] = '\0';
		if (c->stream != NULL && is_whole(c)) {
			finished(c, atoi(c->answer + 9));
			c->next = idle;
			idle = c;
		}
		if (c->in >= ANSWER_BYTES - 1)
			return false;
	}
}

static void
begin(struct stream *s, int64_t due_ns)
{
	struct connection *c = idle;

	if (due_ns >= counted_ns)
		s->sent++;
	if (c != NULL)
		idle = c->next;
	else
		c = connection_open();
	if (c == NULL) {
		s->broken += due_ns >= counted_ns;
		return;
	}
	c->next = NULL;
	c->stream = s;
	c->due_ns = due_ns;
	c->in = c->out = 0;
	flying++;
	if (!write_more(c) && errno != ENOTCONN)
		lost(c);
}

/* When the ${n}th request of a stream is due: evenly, each stream with an offset of its own. */
static int64_t
due(const struct stream *s, uint64_t n)
{
	const double offset = (double)(s - streams + 1) / (double)(stream_count + 1);

	return began_ns + (int64_t)(((double)n + offset) / s->rate * 1e9);
}

static int64_t
send_due(void)
{
	const int64_t now = now_ns();
	int64_t next = INT64_MAX;

	for (size_t i = 0; i < stream_count; i++) {
		struct stream *s = &streams[i];
		int64_t at = due(s, s->next);

		for (; at <= now && at < end_ns; at = due(s, s->next)) {
			s->next++;
			begin(s, at);
		}
		if (at < next)
			next = at;
	}
	return next;
}

static void
handle(const struct epoll_event *e)
{
	struct connection *c = e->data.ptr;

	if (!write_more(c) || !read_more(c))
		lost(c);
}

static void
run(void)
{
	struct epoll_event events[EVENTS];
	const int clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	const int64_t stop_ns = end_ns + LAST_WAIT_S * INT64_C(1000000000);

	if (clock_fd == -1 ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, clock_fd,
		&(struct epoll_event){ .events = EPOLLIN, .data.ptr = NULL }) == -1)
		die("timerfd");
	while (now_ns() < stop_ns && (now_ns() < end_ns || flying > 0)) {
		int64_t next = send_due();
		int n;

		next = next < end_ns ? next : stop_ns;
		(void)timerfd_settime(clock_fd, TFD_TIMER_ABSTIME,
		    &(struct itimerspec){
			.it_value = { .tv_sec = next / 1000000000, .tv_nsec = next % 1000000000 } },
		    NULL);
		n = epoll_wait(ep, events, EVENTS, 100);
		for (int i = 0; i < n; i++)
			if (events[i].data.ptr != NULL)
				handle(&events[i]);
	}
	for (size_t i = 0; i < stream_count; i++)
		streams[i].broken += streams[i].sent - streams[i].good.count -
				     streams[i].shed.count - streams[i].other - streams[i].broken;
}

static int
by_size(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void
print_latencies(const char *name, const struct latencies *l)
{
	static const struct {
		const char *name;
		double at;
	} quantiles[] = { { "p50", 0.5 }, { "p99", 0.99 }, { "p999", 0.999 }, { "max", 1 } };

	printf("\"%s\":{\"count\":%zu", name, l->count);
	if (l->count > 0)
		qsort(l->us, l->count, sizeof *l->us, by_size);
	for (size_t i = 0; i < 4; i++) {
		const size_t nth =
		    l->count == 0 ? 0 : (size_t)(quantiles[i].at * (double)(l->count - 1));

		printf(",\"%s\":%.3f", quantiles[i].name, l->count == 0 ? 0 : l->us[nth] / 1000.0);
	}
	printf("}");
}

static void
print(double seconds)
{
	printf("{\"seconds\":%.3f,\"streams\":[", seconds);
	for (size_t i = 0; i < stream_count; i++) {
		struct stream *s = &streams[i];

		printf("%s{\"sent\":%llu,\"other\":%llu,\"broken\":%llu,", i == 0 ? "" : ",",
		    (unsigned long long)s->sent, (unsigned long long)s->other,
		    (unsigned long long)s->broken);
		print_latencies("good", &s->good);
		printf(",");
		print_latencies("shed", &s->shed);
		printf("}");
	}
	printf("],\"slices\":[");
	for (size_t i = 0; i < SLICES && (int64_t)i * slice_ns < end_ns - counted_ns; i++)
		printf("%s%u", i == 0 ? "" : ",", slices[i]);
	printf("]}\n");
}

static void
read_stream(const char *text, const char *path)
{
	struct stream *s = &streams[stream_count++];
	const char *header = strchr(text, ',');
	int n;

	s->rate = strtod(text, NULL);
	n = snprintf(s->request, sizeof s->request,
	    "GET %s HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n", path,
	    header == NULL ? "" : header + 1, header == NULL ? "" : "\r\n");
	if (s->rate <= 0 || n < 0 || (size_t)n >= sizeof s->request) {
		(void)fprintf(stderr, "open_loop: %s: no stream\n", text);
		exit(2);
	}
	s->request_len = (size_t)n;
}

int
main(int argc, char **argv)
{
	const struct rlimit files = { CONNECTIONS + 64, CONNECTIONS + 64 };
	double warm, seconds;

	if (argc < 7 || argc - 6 > STREAMS) {
		(void)fprintf(stderr,
		    "open_loop PORT PATH WARM_SECONDS SECONDS SLICE_MS RATE[,HEADER: VALUE]...\n");
		return 2;
	}
	(void)setrlimit(RLIMIT_NOFILE, &files);
	server = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(argv[1])),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	warm = strtod(argv[3], NULL);
	seconds = strtod(argv[4], NULL);
	slice_ns = atoll(argv[5]) * 1000000;
	for (int i = 6; i < argc; i++)
		read_stream(argv[i], argv[2]);
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (ep == -1 || slice_ns <= 0)
		die("epoll_create1");
	began_ns = now_ns();
	counted_ns = began_ns + (int64_t)(warm * 1e9);
	end_ns = counted_ns + (int64_t)(seconds * 1e9);
	run();
	print(seconds);
	return 0;
}
