#ifndef TELEMETRY_SPAN_H
#define TELEMETRY_SPAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct arena;

/*
 * What the work in hand spends its time on: spans, kept until the work ends, in its own arena.
 *
 * A recorder belongs to one piece of work (an exchange, a batch of the consumer) and is made the calling thread's own
 * by span_record() for as long as that thread is at it.  Whatever runs meanwhile records without being handed
 * anything; a thread without a recorder records nothing, for span_begin() gives NULL there and all calls take NULL.
 *
 *	struct span *s = span_begin(SPAN_CLIENT, "GET redis");
 *	span_str(s, SPAN_KEY_DB_SYSTEM_NAME, SLICE("redis"));
 *	rc = call();
 *	span_end(s, rc);
 *
 * A span begun while another is open is its child; they end in reverse.  Nothing here takes a lock or fails: what has
 * no room (SPANS_MAX, the arena) is counted and dropped, and the arena does not show it as overflowed.
 * Cost: an arena piece and a look at the clock for each begin and end; so nothing is begun where a request is answered
 * from memory alone.
 */
enum { SPANS_MAX = 48, SPAN_EVENTS_MAX = 16, SPAN_TEXT_BYTES_MAX = 4096 };

enum span_kind { /* the numbers are OTLP's */
	SPAN_INTERNAL = 1,
	SPAN_SERVER,
	SPAN_CLIENT,
	SPAN_PRODUCER,
	SPAN_CONSUMER
};

enum span_key { /* SPAN_KEY_HTTP_ROUTE ... */
#define SPAN_KEY(id, name) SPAN_KEY_##id,
#include "telemetry/span_keys.inc"
#undef SPAN_KEY
	SPAN_KEY__COUNT
};
extern const char *const span_key_names[SPAN_KEY__COUNT];

/* One thing said. */
struct span_attr {
	enum span_key key;
	bool is_int;
	struct slice text;
	int64_t number;
	struct span_attr *next;
};

struct span_event {
	const char *name;
	int64_t at_ns;
	struct span_attr *attrs;
	struct span_event *next;
};

struct span {
	struct slice name;
	enum span_kind kind;
	enum err result;	  /* ERR_OK and ERR_NOT_FOUND are no failures */
	int64_t begin_ns, end_ns; /* monotonic; end 0: still open */
	struct span *parent;	  /* NULL: the work itself */
	struct span_attr *attrs, **attrs_end;
	struct span_event *events, **events_end; /* NULL: none */
	struct span_recorder *recorder;
	struct span *next, *prev;
	uint32_t index; /* in the list */
	uint32_t attr_count;
};

struct span_recorder {
	struct arena *arena;
	struct span *first, *last; /* in the order in which they began */
	struct span *open;	   /* the innermost */
	struct span_event *events; /* of the work itself */
	struct span_event *events_last;
	uint32_t count, event_count, dropped; /* dropped: spans */
};

/* ${r} is ready when it is zeroed and has an arena.  NULL: this thread records nothing from now on.  Returns what was
 * the thread's before, for who works for somebody else in between. */
struct span_recorder *span_record(struct span_recorder *r);
/* This thread's, or NULL. */
struct span_recorder *span_recorder(void);

/* ${name} is static. */
struct span *span_begin(enum span_kind kind, const char *name);
/* The same for what began at ${begin_ns} (monotonic), when nobody was there to say so: a wait. */
struct span *span_begin_at(enum span_kind kind, const char *name, int64_t begin_ns);
/* The innermost one that is open, or NULL. */
struct span *span_here(void);
void span_name(struct span *s, struct slice name); /* another one, copied */
void span_str(
    struct span *s, enum span_key key, struct slice text); /* copied, to SPAN_TEXT_BYTES_MAX */
void span_int(struct span *s, enum span_key key, int64_t number);
void span_end(struct span *s, enum err result);
/* Ended; but if it took less than ${ns}, and nothing was said in it, it never was. */
void span_end_worth(struct span *s, enum err result, int64_t ns);

/* Something that happened at one moment, to ${s}; to the work itself when ${s} is NULL.  ${name} is static, texts are
 * copied. */
#define SPAN_STR(k, v) ((struct span_attr){ .key = SPAN_KEY_##k, .text = (v) })
#define SPAN_INT(k, v)                                                                             \
	((struct span_attr){ .key = SPAN_KEY_##k, .is_int = true, .number = (int64_t)(v) })
#define span_event(s, event_name, ...)                                                             \
	span_event_attrs((s), (event_name), (const struct span_attr[]){ __VA_ARGS__ },             \
	    sizeof((const struct span_attr[]){ __VA_ARGS__ }) / sizeof(struct span_attr))
void span_event_attrs(
    struct span *s, const char *name, const struct span_attr *attrs, size_t count);

#endif
