/*
 * Goal: every process of the host has its slot, a dead one's slot is taken over, and no death loses or
 * doubles what was counted.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "telemetry/scoreboard.h"
#include "tests/support/unit.h"

enum { CROWD = 8, KILLS = 100 };

/* What a test shares with its children. */
struct house {
	_Atomic uint64_t counted;
	_Atomic unsigned member, joined;
	struct scoreboard *board;
};

static void *
share(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static struct house *
house_open(void)
{
	struct house *h = share(sizeof *h);

	h->board = share(scoreboard_size());
	scoreboard_init(h->board);
	return h;
}

static void
house_close(struct house *h)
{
	(void)munmap(h->board, scoreboard_size());
	(void)munmap(h, sizeof *h);
}

static pid_t
child_start(struct house *h, void (*run)(struct house *h))
{
	const pid_t pid = fork();

	if (pid == -1)
		abort();
	if (pid != 0)
		return pid;
	run(h);
	_exit(0);
}

static void
kill_and_reap(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static void
join_and_stay(struct house *h)
{
	unsigned member = 0;

	if (scoreboard_join(h->board, MEMBER_WORKER, 100, &member) != ERR_OK)
		_exit(1);
	scoreboard_count(h->board, member, METRIC_REQUESTS, 7);
	scoreboard_in_hand(h->board, member, 3);
	atomic_store(&h->member, member);
	atomic_store(&h->joined, 1);
	for (;;)
		(void)pause();
}

/* A child that has joined and counted seven requests. */
static pid_t
worker_start(struct house *h)
{
	pid_t pid;

	atomic_store(&h->joined, 0);
	pid = child_start(h, join_and_stay);
	while (atomic_load(&h->joined) == 0)
		(void)sched_yield();
	return pid;
}

static void
a_member_is_seen_with_all_it_tells(void)
{
	struct house *h = house_open();
	struct member_view v;
	unsigned member = 99;

	CU_ASSERT_EQUAL(scoreboard_join(h->board, MEMBER_SUPERVISOR, 1000, &member), ERR_OK);
	scoreboard_beat(h->board, member, 1500);
	scoreboard_in_hand(h->board, member, 12);
	scoreboard_view(h->board, member, &v);
	CU_ASSERT_EQUAL(v.kind, MEMBER_SUPERVISOR);
	CU_ASSERT_EQUAL(v.pid, getpid());
	CU_ASSERT_EQUAL(v.start_ticks, process_start_ticks(getpid()));
	CU_ASSERT_EQUAL(v.joined_ms, 1000);
	CU_ASSERT_EQUAL(v.beat_ms, 1500);
	CU_ASSERT_EQUAL(v.in_hand, 12);
	CU_ASSERT_TRUE(v.alive);
	house_close(h);
}

static void
a_free_slot_shows_nobody(void)
{
	struct house *h = house_open();
	struct member_view v;

	for (unsigned i = 0; i < SCOREBOARD_MEMBERS; i++) {
		scoreboard_view(h->board, i, &v);
		CU_ASSERT_EQUAL(v.kind, MEMBER_NONE);
		CU_ASSERT_FALSE(v.alive);
		CU_ASSERT_FALSE(scoreboard_alive(h->board, i, 0));
	}
	house_close(h);
}

static void
who_leaves_is_seen_no_more_but_his_counts_stay(void)
{
	struct house *h = house_open();
	struct member_view v;
	unsigned member = 0;

	CU_ASSERT_EQUAL(scoreboard_join(h->board, MEMBER_WORKER, 1, &member), ERR_OK);
	scoreboard_count(h->board, member, METRIC_LIMITED, 5);
	scoreboard_leave(h->board, member);
	scoreboard_view(h->board, member, &v);
	CU_ASSERT_EQUAL(v.kind, MEMBER_NONE);
	CU_ASSERT_EQUAL(scoreboard_total(h->board, METRIC_LIMITED), 5);
	house_close(h);
}

static void
no_more_than_256_can_be_alive_at_once(void)
{
	struct house *h = house_open();
	unsigned member = 0, refused = 0;

	for (unsigned i = 0; i < SCOREBOARD_MEMBERS; i++)
		refused += scoreboard_join(h->board, MEMBER_WORKER, 1, &member) != ERR_OK;
	CU_ASSERT_EQUAL(refused, 0);
	CU_ASSERT_EQUAL(scoreboard_join(h->board, MEMBER_WORKER, 1, &member), ERR_FULL);
	scoreboard_leave(h->board, 77);
	CU_ASSERT_EQUAL(scoreboard_join(h->board, MEMBER_WORKER, 1, &member), ERR_OK);
	CU_ASSERT_EQUAL(member, 77);
	house_close(h);
}

static void
a_killed_member_still_tells_what_it_did_until_its_slot_is_taken_over(void)
{
	struct house *h = house_open();
	const pid_t pid = worker_start(h);
	struct member_view v;
	unsigned member = 99;

	scoreboard_view(h->board, h->member, &v);
	CU_ASSERT_TRUE(v.alive);
	CU_ASSERT_TRUE(scoreboard_alive(h->board, h->member, v.start_ticks));
	kill_and_reap(pid);
	CU_ASSERT_FALSE(scoreboard_alive(h->board, h->member, v.start_ticks));
	scoreboard_view(h->board, h->member, &v);
	CU_ASSERT_FALSE(v.alive);
	CU_ASSERT_EQUAL(v.pid, pid);
	CU_ASSERT_EQUAL(v.kind, MEMBER_WORKER);
	CU_ASSERT_EQUAL(scoreboard_of(h->board, h->member, METRIC_REQUESTS), 7);

	CU_ASSERT_EQUAL(scoreboard_join(h->board, MEMBER_CONSUMER, 200, &member), ERR_OK);
	CU_ASSERT_EQUAL(member, h->member);
	scoreboard_view(h->board, member, &v);
	CU_ASSERT_EQUAL(v.in_hand, 0);
	CU_ASSERT_EQUAL(v.joined_ms, 200);
	CU_ASSERT_EQUAL(scoreboard_of(h->board, member, METRIC_REQUESTS), 0);
	CU_ASSERT_EQUAL(scoreboard_total(h->board, METRIC_REQUESTS), 7);
	scoreboard_count(h->board, member, METRIC_REQUESTS, 2);
	CU_ASSERT_EQUAL(scoreboard_of(h->board, member, METRIC_REQUESTS), 2);
	CU_ASSERT_EQUAL(scoreboard_total(h->board, METRIC_REQUESTS), 9);
	house_close(h);
}

static void
a_zombie_is_dead(void)
{
	struct house *h = house_open();
	const pid_t pid = worker_start(h);
	siginfo_t info;
	struct member_view v;

	CU_ASSERT_NOT_EQUAL(process_start_ticks(pid), 0);
	(void)kill(pid, SIGKILL);
	(void)waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	CU_ASSERT_EQUAL(process_start_ticks(pid), 0);
	scoreboard_view(h->board, h->member, &v);
	CU_ASSERT_FALSE(v.alive);
	(void)waitpid(pid, NULL, 0);
	CU_ASSERT_EQUAL(process_start_ticks(pid), 0);
	house_close(h);
}

static void
a_stopped_process_is_alive(void)
{
	struct house *h = house_open();
	const pid_t pid = worker_start(h);
	struct member_view v;
	unsigned member = 99;

	(void)kill(pid, SIGSTOP);
	(void)waitpid(pid, NULL, WUNTRACED);
	scoreboard_view(h->board, h->member, &v);
	CU_ASSERT_TRUE(v.alive);
	CU_ASSERT_EQUAL(scoreboard_join(h->board, MEMBER_WORKER, 1, &member), ERR_OK);
	CU_ASSERT_NOT_EQUAL(member, h->member);
	kill_and_reap(pid);
	house_close(h);
}

static void
another_process_with_the_same_pid_is_not_mistaken_for_the_member(void)
{
	struct house *h = house_open();
	unsigned member = 0;

	CU_ASSERT_EQUAL(scoreboard_join(h->board, MEMBER_WORKER, 1, &member), ERR_OK);
	CU_ASSERT_TRUE(scoreboard_alive(h->board, member, process_start_ticks(getpid())));
	CU_ASSERT_FALSE(scoreboard_alive(h->board, member, process_start_ticks(getpid()) + 1));
	house_close(h);
}

static void
join_count_and_leave(struct house *h)
{
	for (int i = 0; i < 50; i++) {
		unsigned member = 0;

		if (scoreboard_join(h->board, MEMBER_WORKER, i, &member) != ERR_OK)
			return;
		for (int n = 0; n < 20; n++)
			scoreboard_count(h->board, member, METRIC_REQUESTS, 1);
		if (scoreboard_of(h->board, member, METRIC_REQUESTS) == 20)
			atomic_fetch_add(&h->counted, 20); /* the slot was nobody else's */
		scoreboard_leave(h->board, member);
	}
}

static void *
join_count_and_leave_thread(void *arg)
{
	join_count_and_leave(arg);
	return NULL;
}

static void
members_who_come_at_once_never_share_a_slot(void)
{
	struct house *h = house_open();
	pthread_t threads[CROWD];

	for (int i = 0; i < CROWD; i++)
		if (pthread_create(&threads[i], NULL, join_count_and_leave_thread, h) != 0)
			abort();
	for (int i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	CU_ASSERT_EQUAL(h->counted, CROWD * 50 * 20);
	CU_ASSERT_EQUAL(scoreboard_total(h->board, METRIC_REQUESTS), CROWD * 50 * 20);
	house_close(h);
}

static void
live_until_killed(struct house *h)
{
	for (int64_t i = 0;; i++) {
		unsigned member = 0;

		if (scoreboard_join(h->board, MEMBER_WORKER, i, &member) != ERR_OK)
			_exit(1);
		for (int n = 0; n < 10; n++) {
			scoreboard_count(h->board, member, METRIC_REQUESTS, 1);
			atomic_fetch_add(&h->counted, 1);
		}
		scoreboard_leave(h->board, member);
	}
}

/* Kills a member at any instruction and starts another, KILLS times; false when a total went back. */
static bool
members_under_fire(struct house *h)
{
	pid_t pids[CROWD];
	uint64_t last = 0;
	bool good = true;

	for (int i = 0; i < CROWD; i++)
		pids[i] = child_start(h, live_until_killed);
	for (int n = 0; n < KILLS; n++) {
		const uint64_t until = h->counted + (uint64_t)random() % 40;
		uint64_t total;

		while (h->counted < until)
			(void)sched_yield();
		kill_and_reap(pids[n % CROWD]);
		total = scoreboard_total(h->board, METRIC_REQUESTS);
		good = good && total >= last && total >= until;
		last = total;
		pids[n % CROWD] = child_start(h, live_until_killed);
	}
	for (int i = 0; i < CROWD; i++)
		kill_and_reap(pids[i]);
	return good;
}

static void
members_killed_at_any_instruction_lose_and_double_nothing(void)
{
	struct house *h = house_open();
	const bool good = members_under_fire(h);
	const uint64_t total = scoreboard_total(h->board, METRIC_REQUESTS);
	unsigned member = 0, refused = 0;

	CU_ASSERT_TRUE(good);
	/* each may have died between the two counters */
	CU_ASSERT_TRUE(total >= h->counted && total <= h->counted + KILLS + CROWD);
	for (unsigned i = 0; i < SCOREBOARD_MEMBERS; i++) /* all slots can be had again */
		refused += scoreboard_join(h->board, MEMBER_WORKER, 1, &member) != ERR_OK;
	CU_ASSERT_EQUAL(refused, 0);
	house_close(h);
}

UNIT_SUITE(scoreboard, TEST(a_free_slot_shows_nobody), TEST(a_member_is_seen_with_all_it_tells),
    TEST(who_leaves_is_seen_no_more_but_his_counts_stay),
    TEST(no_more_than_256_can_be_alive_at_once),
    TEST(a_killed_member_still_tells_what_it_did_until_its_slot_is_taken_over),
    TEST(a_zombie_is_dead), TEST(a_stopped_process_is_alive),
    TEST(another_process_with_the_same_pid_is_not_mistaken_for_the_member),
    TEST(members_who_come_at_once_never_share_a_slot),
    TEST(members_killed_at_any_instruction_lose_and_double_nothing));
