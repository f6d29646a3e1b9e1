#ifndef RUNTIME_REACTOR_H
#define RUNTIME_REACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "http/address.h"
#include "runtime/timer.h"

struct activity_row;
struct exchange;

/*
 * One thread, one epoll set: accepts FastCGI connections, notices whole requests, writes replies.
 *
 * It knows connections and exchanges, and nothing of what a request means: ops->request() is called with an
 * exchange when a whole request (or the parameters of a large one) has arrived; later, on this thread,
 * reactor_reply() writes x->response.  An idle kept connection costs its descriptor and about 300 bytes; no thread, no timer.
 */
struct reactor;

struct reactor_ops {
	struct exchange *(*take)(void *ctx); /* a clean exchange; NULL: no memory, close */
	void (*request)(void *ctx, struct exchange *x); /* x->envp and x->body_is_large are set */
	void (*gone)(void *ctx, struct exchange *x);	/* the front closed it while in hand */
	void (*refused)(void *ctx); /* a peer or its bytes: no exchange was made of it */
	void (*give)(void *ctx, struct exchange *x); /* replied, or given up: may be used again */
};

struct reactor_options {
	const struct reactor_ops *ops;
	void *ctx;
	struct activity_row *activity; /* says whether the thread waits; NULL: nobody looks */
	int64_t arrive_ms; /* a whole request must have come within this; a reply must have gone */
};

enum err reactor_open(const struct reactor_options *o, struct reactor **out);
void reactor_close(struct reactor **rp);

/* Connections of ${listen_fd} (made non-blocking here; not owned).  TCP peers outside ${allow} are
 * closed at accept. */
enum err reactor_listen(
    struct reactor *r, int listen_fd, const struct cidr *allow, size_t allow_count);

/* Any other descriptor: ${ready} is called when it is readable (level-triggered).  The source lives with the caller. */
struct source {
	void (*ready)(struct source *s, uint32_t events);
	int fd;
};
enum err reactor_watch(struct reactor *r, struct source *s);
void reactor_unwatch(struct reactor *r, struct source *s);

bool reactor_timer(struct reactor *r, struct timer *t, int64_t at_ms);
void reactor_timer_stop(struct reactor *r, struct timer *t);

/* One wait of at most ${most_ms}, and everything that came of it.  */
void reactor_turn(struct reactor *r, int64_t most_ms);

/* Writes x->response; ops->give() follows, perhaps later. */
void reactor_reply(struct reactor *r, struct exchange *x);
/* Closes the exchange's connection without a reply; ops->give() follows at once. */
void reactor_detach(struct reactor *r, struct exchange *x);
/* Reads the request's body, see fcgi_body(); from any thread that owns the exchange. */
enum err reactor_body(struct exchange *x, char *out, size_t cap, size_t *total_out);
/* Wakes a lane that reads a body: shuts the receiving side down. */
void reactor_stop_body(struct reactor *r, struct exchange *x);

/* Others shall have a share: accepts nothing for ${ms}, and lets every connection of now end after its next reply. */
void reactor_step_back(struct reactor *r, int64_t ms);
/* No more connections; every kept one closes after its next reply; idle ones at once when ${now}. */
void reactor_drain(struct reactor *r, bool now);
size_t reactor_connections(const struct reactor *r);
int64_t reactor_now_ms(const struct reactor *r); /* of this turn */

#endif
