/*
 * Watching the processes that lead flights.
 */
#include "runtime/leaders.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/container.h"
#include "runtime/reactor.h"
#include "telemetry/scoreboard.h"

struct leader {
	struct source source;
	struct leaders *set;
	unsigned member;
};

static void
forget(struct leader *l)
{
	reactor_unwatch(l->set->reactor, &l->source);
	(void)close(l->source.fd);
	l->set->watched[l->member] = NULL;
	free(l);
}

static void
leader_died(struct source *s, uint32_t events)
{
	struct leader *l = CONTAINER_OF(s, struct leader, source);
	struct leaders *set = l->set;
	const unsigned member = l->member;

	(void)events;
	forget(l);
	set->died(set->ctx, member);
}

static enum err
watch(struct leaders *set, unsigned member, pid_t pid)
{
	struct leader *l = calloc(1, sizeof *l);

	if (l == NULL)
		return ERR_NOMEM;
	*l = (struct leader){ .source = { .ready = leader_died,
				  .fd = (int)syscall(SYS_pidfd_open, pid, 0) },
		.set = set,
		.member = member };
	if (l->source.fd == -1) {
		const bool dead = errno == ESRCH;

		free(l);
		return dead ? ERR_NOT_FOUND : ERR_IO;
	}
	set->watched[member] = l;
	return reactor_watch(set->reactor, &l->source);
}

bool
leaders_watch(struct leaders *set, unsigned member)
{
	struct member_view v;

	if (member == set->self || member >= FLIGHT_MEMBERS || set->watched[member] != NULL)
		return true;
	scoreboard_view(set->scoreboard, member, &v);
	if (!v.alive || watch(set, member, v.pid) == ERR_NOT_FOUND)
		return false;
	if (scoreboard_alive(set->scoreboard, member, v.start_ticks))
		return true;
	/* It died just before we got hold of it, and its pid may be another's by now. */
	if (set->watched[member] != NULL)
		forget(set->watched[member]);
	return false;
}

void
leaders_close(struct leaders *set)
{
	for (unsigned i = 0; i < FLIGHT_MEMBERS; i++)
		if (set->watched[i] != NULL)
			forget(set->watched[i]);
}
