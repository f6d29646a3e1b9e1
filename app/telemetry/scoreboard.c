/*
 * One slot a process.
 *
 * The owner is one word { start time, pid, SETTLING }, taken by compare-and-swap from nobody or from a
 * dead process.  While it says SETTLING its owner writes the other fields and readers see an empty
 * slot; killed there, the next one begins again.  Counters only grow; `since` is what they were when
 * the owner came.
 */
#include "telemetry/scoreboard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

enum {
	PID_BITS = 22, /* PID_MAX_LIMIT of Linux is 2^22 */
	START_FIELD = 22,
	STAT_BYTES = 1024, /* a line is under 400: 52 numbers, a name of at most 64 bytes */
	PROC_PATH_BYTES = 32,
	VIEW_TRIES = 4,
};

static const uint64_t settling_bit = (uint64_t)1 << PID_BITS;

struct member {
	alignas(64) _Atomic uint64_t owner; /* 0: nobody */
	_Atomic int64_t joined_ms, beat_ms;
	_Atomic uint32_t kind, in_hand;
	_Atomic uint64_t since[METRIC__COUNT];
	alignas(64) _Atomic uint64_t counter[METRIC__COUNT];
};

struct scoreboard {
	struct member members[SCOREBOARD_MEMBERS];
};

static uint64_t
owner_of(pid_t pid, uint64_t start_ticks)
{
	return start_ticks << (PID_BITS + 1) | (uint64_t)pid;
}

static pid_t
owner_pid(uint64_t owner)
{
	return (pid_t)(owner & (settling_bit - 1));
}

static uint64_t
owner_ticks(uint64_t owner)
{
	return owner >> (PID_BITS + 1);
}

/* ERR_NOT_FOUND: there is no such process; any other failure leaves that open. */
static enum err
read_stat(pid_t pid, char *out, size_t size, size_t *len_out)
{
	char path[PROC_PATH_BYTES];
	enum err rc = ERR_IO;
	ssize_t n = -1;
	int fd;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	n = read(fd, out, size);
	if (n > 0) {
		*len_out = (size_t)n;
		rc = ERR_OK;
	} else if (n == -1 && errno == ESRCH) {
		rc = ERR_NOT_FOUND; /* it ended after open() */
	}
	(void)close(fd);
	return rc;
}

/* The process' own name comes second, in parentheses, and may hold spaces and parentheses. */
static enum err
start_ticks_of(pid_t pid, uint64_t *ticks_out)
{
	char text[STAT_BYTES];
	struct slice rest = { .ptr = text }, field = { 0 };
	const char *name_end;
	int64_t ticks = 0;
	enum err rc = read_stat(pid, text, sizeof text, &rest.len);

	if (rc != ERR_OK)
		return rc;
	name_end = memrchr(rest.ptr, ')', rest.len);
	if (name_end == NULL || name_end + 2 >= rest.ptr + rest.len)
		return ERR_IO;
	rest.len -= (size_t)(name_end + 2 - rest.ptr);
	rest.ptr = name_end + 2;
	if (*rest.ptr == 'Z' || *rest.ptr == 'X')
		return ERR_NOT_FOUND;
	for (int i = 3; i <= START_FIELD; i++)
		field = slice_cut(&rest, ' ');
	if (slice_to_i64(field, &ticks) != ERR_OK || ticks < 0)
		return ERR_IO;
	*ticks_out = (uint64_t)ticks;
	return ERR_OK;
}

uint64_t
process_start_ticks(pid_t pid)
{
	uint64_t ticks = 0;

	return start_ticks_of(pid, &ticks) == ERR_OK ? ticks : 0;
}

/* Without a descriptor to look with, nobody is declared dead: his slot must not be taken from under him. */
static bool
owner_is_alive(uint64_t owner)
{
	uint64_t ticks = 0;
	const enum err rc = start_ticks_of(owner_pid(owner), &ticks);

	return rc == ERR_OK ? ticks == owner_ticks(owner) : rc != ERR_NOT_FOUND;
}

size_t
scoreboard_size(void)
{
	return sizeof(struct scoreboard);
}

void
scoreboard_init(void *mem)
{
	memset(mem, 0, sizeof(struct scoreboard));
}

/* True when the slot is ours now, still SETTLING. */
static bool
member_take(struct member *m, uint64_t own)
{
	uint64_t owner = atomic_load(&m->owner);

	if (owner != 0 && owner_is_alive(owner))
		return false;
	return atomic_compare_exchange_strong(&m->owner, &owner, own | settling_bit);
}

static void
member_settle(struct member *m, uint64_t own, enum member_kind kind, int64_t now_ms)
{
	atomic_store(&m->joined_ms, now_ms);
	atomic_store(&m->beat_ms, now_ms);
	atomic_store(&m->kind, kind);
	atomic_store(&m->in_hand, 0);
	for (size_t i = 0; i < METRIC__COUNT; i++)
		atomic_store(&m->since[i], atomic_load(&m->counter[i]));
	atomic_store(&m->owner, own);
}

enum err
scoreboard_join(struct scoreboard *s, enum member_kind kind, int64_t now_ms, unsigned *member_out)
{
	uint64_t ticks = 0;

	if (start_ticks_of(getpid(), &ticks) != ERR_OK)
		return ERR_IO;
	for (unsigned i = 0; i < SCOREBOARD_MEMBERS; i++) {
		if (!member_take(&s->members[i], owner_of(getpid(), ticks)))
			continue;
		member_settle(&s->members[i], owner_of(getpid(), ticks), kind, now_ms);
		*member_out = i;
		return ERR_OK;
	}
	return ERR_FULL;
}

void
scoreboard_leave(struct scoreboard *s, unsigned member)
{
	atomic_store(&s->members[member].owner, 0);
}

void
scoreboard_beat(struct scoreboard *s, unsigned member, int64_t now_ms)
{
	atomic_store(&s->members[member].beat_ms, now_ms);
}

void
scoreboard_in_hand(struct scoreboard *s, unsigned member, uint32_t exchanges)
{
	atomic_store(&s->members[member].in_hand, exchanges);
}

static bool
is_settled(uint64_t owner)
{
	return owner != 0 && (owner & settling_bit) == 0;
}

/* False: the owner changed meanwhile, so the fields may be of two. */
static bool
member_read(const struct member *m, struct member_view *out)
{
	const uint64_t owner = atomic_load(&m->owner);

	*out = (struct member_view){ .kind = MEMBER_NONE };
	if (!is_settled(owner))
		return true;
	*out = (struct member_view){
		.kind = (enum member_kind)atomic_load(&m->kind),
		.pid = owner_pid(owner),
		.start_ticks = owner_ticks(owner),
		.joined_ms = atomic_load(&m->joined_ms),
		.beat_ms = atomic_load(&m->beat_ms),
		.in_hand = atomic_load(&m->in_hand),
		.alive = owner_is_alive(owner),
	};
	return atomic_load(&m->owner) == owner;
}

void
scoreboard_view(const struct scoreboard *s, unsigned member, struct member_view *out)
{
	for (int i = 0; i < VIEW_TRIES; i++)
		if (member_read(&s->members[member], out))
			return;
	*out =
	    (struct member_view){ .kind = MEMBER_NONE }; /* they come and go: nobody to rely on */
}

bool
scoreboard_alive(const struct scoreboard *s, unsigned member, uint64_t start_ticks)
{
	const uint64_t owner = atomic_load(&s->members[member].owner);

	return is_settled(owner) && owner_ticks(owner) == start_ticks && owner_is_alive(owner);
}

void
scoreboard_count(struct scoreboard *s, unsigned member, enum metric m, uint64_t n)
{
	atomic_fetch_add_explicit(&s->members[member].counter[m], n, memory_order_relaxed);
}

uint64_t
scoreboard_total(const struct scoreboard *s, enum metric m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < SCOREBOARD_MEMBERS; i++)
		sum += atomic_load_explicit(&s->members[i].counter[m], memory_order_relaxed);
	return sum;
}

uint64_t
scoreboard_of(const struct scoreboard *s, unsigned member, enum metric m)
{
	const struct member *at = &s->members[member];
	const uint64_t since = atomic_load(&at->since[m]), counter = atomic_load(&at->counter[m]);

	/* An owner who is just arriving has counted nothing, whatever `since` still says. */
	return (atomic_load(&at->owner) & settling_bit) != 0 ? 0 : counter - since;
}
