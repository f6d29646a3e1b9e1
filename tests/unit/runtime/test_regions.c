/* Goal: every process of a host finds the same regions, and a segment is complete before anybody sees it. */
#include "runtime/regions.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "client/shm.h"
#include "policy/l1.h"
#include "policy/limiter.h"
#include "service/guard.h"
#include "service/ingest.h"
#include "telemetry/scoreboard.h"
#include "tests/support/unit.h"

enum { CACHE_BYTES = 1 << 20, SPOOL_BYTES = 16 << 20 };

static char dir[4300];
static int dir_fd = -1;

static void
fresh_dir(void)
{
	static unsigned n;
	const struct log_options quiet = { .level = LOG_LEVEL_ERROR, .file = "/dev/null" };

	CU_ASSERT_EQUAL_FATAL(log_open(&quiet), ERR_OK);
	if (dir_fd != -1)
		(void)close(dir_fd);
	(void)snprintf(dir, sizeof dir, "%s/regions-%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static struct regions_options
options(void)
{
	return (struct regions_options){
		.state_dir_fd = dir_fd,
		.state_dir = dir,
		.cache_bytes = CACHE_BYTES,
		.spool_bytes = SPOOL_BYTES,
		.key_ttl_ms = 1000,
	};
}

static struct regions *
join(void)
{
	const struct regions_options o = options();
	struct regions *r = NULL;

	CU_ASSERT_EQUAL_FATAL(regions_open(&o, &r), ERR_OK);
	return r;
}

static void
what_one_member_writes_another_reads_in_every_region(void)
{
	const struct limiter_rule rule = { .quota = 1, .window_ns = 1000000000, .burst = 1 };
	struct limiter_state st;
	struct regions *a, *b;
	unsigned member;
	struct member_view view;
	struct l1_stats stats;
	const struct breaker_rules rules = { .volume = 1 };
	struct guard_view guards[GUARDS_MAX];
	struct guard guard;

	fresh_dir();
	a = join();
	b = join();
	CU_ASSERT_TRUE(shm_made(a->shm));
	CU_ASSERT_FALSE(shm_made(b->shm));
	CU_ASSERT_PTR_NOT_EQUAL(a->limiter, b->limiter); /* mapped twice */
	CU_ASSERT_EQUAL(
	    (char *)a->tenants - (char *)a->limiter, (char *)b->tenants - (char *)b->limiter);
	CU_ASSERT_EQUAL(limiter_take(a->limiter, &rule, 1, 0, &st), ERR_OK);
	CU_ASSERT_EQUAL(limiter_take(b->limiter, &rule, 1, 0, &st), ERR_LIMITED);
	CU_ASSERT_EQUAL(scoreboard_join(a->scoreboard, MEMBER_WORKER, 5, &member), ERR_OK);
	scoreboard_view(b->scoreboard, member, &view);
	CU_ASSERT_EQUAL(view.pid, getpid());
	atomic_store(&a->ingest->pid, 77);
	CU_ASSERT_EQUAL(b->ingest->pid, 77);
	CU_ASSERT_EQUAL(guard_open(a->guards, "primary", &rules, false, &guard), ERR_OK);
	CU_ASSERT_EQUAL(guards_look(b->guards, 0, guards), 1);
	l1_stats_read(b->l1, &stats);
	CU_ASSERT_TRUE(stats.bytes_total > 0);
	regions_close(&a);
	regions_close(&b);
	CU_ASSERT_PTR_NULL(a);
}

static void
no_two_regions_overlap(void)
{
	struct regions *r;

	fresh_dir();
	r = join();
	const char *const at[] = { (const char *)r->seeds, (const char *)r->scoreboard,
		(const char *)r->limiter, (const char *)r->l1, (const char *)r->flights,
		(const char *)r->guards, (const char *)r->queue, (const char *)r->ingest };
	const size_t least[] = { sizeof(struct region_seeds), scoreboard_size(),
		limiter_size(1 << 18), l1_size(CACHE_BYTES), 4096 * 16, guards_size(),
		SPOOL_BYTES / 128, sizeof(struct ingest_shared) };

	for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
		CU_ASSERT_EQUAL((uintptr_t)at[i] % 64, 0);
		if (i > 0)
			CU_ASSERT_TRUE(at[i] >= at[i - 1] + least[i - 1]);
	}
	regions_close(&r);
}

static void
seeds_are_random_and_new_with_each_segment(void)
{
	struct region_seeds first;
	struct regions *r;

	fresh_dir();
	r = join();
	first = *r->seeds;
	CU_ASSERT_NOT_EQUAL(first.limiter, 0);
	CU_ASSERT_NOT_EQUAL(first.limiter, first.l1);
	CU_ASSERT_NOT_EQUAL(first.l1, first.cache);
	regions_close(&r);
	r = join();
	CU_ASSERT_NOT_EQUAL(memcmp(&first, r->seeds, sizeof first), 0);
	regions_close(&r);
}

static void
other_sizes_are_another_segment(void)
{
	struct regions_options o;
	struct regions *a, *b;

	fresh_dir();
	a = join();
	o = options();
	o.cache_bytes *= 2;
	CU_ASSERT_EQUAL_FATAL(regions_open(&o, &b), ERR_OK);
	CU_ASSERT_STRING_NOT_EQUAL(shm_path(a->shm), shm_path(b->shm));
	regions_close(&b);
	regions_close(&a);
}

static void
the_spool_is_there_once_the_segment_is(void)
{
	struct regions *r;

	fresh_dir();
	r = join();
	CU_ASSERT_EQUAL(
	    faccessat(dir_fd, "spool/data.mdb", F_OK, 0), 0); /* the hints were read from it */
	regions_close(&r);
}

static void
a_spool_that_cannot_be_read_leaves_no_segment(void)
{
	const struct regions_options o = (fresh_dir(), options());
	struct regions *r;
	int fd;

	fd = openat(dir_fd, "spool", O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* not a folder */
	CU_ASSERT_NOT_EQUAL_FATAL(fd, -1);
	(void)close(fd);
	CU_ASSERT_NOT_EQUAL(regions_open(&o, &r), ERR_OK);
	CU_ASSERT_PTR_NULL(r);
	CU_ASSERT_EQUAL(faccessat(dir_fd, "segment", F_OK, 0), -1);
}

static void
a_size_out_of_range_is_refused(void)
{
	struct regions_options o;
	struct regions *r;

	fresh_dir();
	o = options();
	o.cache_bytes = 1;
	CU_ASSERT_EQUAL(regions_open(&o, &r), ERR_INVALID);
}

UNIT_SUITE(regions, TEST(what_one_member_writes_another_reads_in_every_region),
    TEST(no_two_regions_overlap), TEST(seeds_are_random_and_new_with_each_segment),
    TEST(other_sizes_are_another_segment), TEST(the_spool_is_there_once_the_segment_is),
    TEST(a_spool_that_cannot_be_read_leaves_no_segment), TEST(a_size_out_of_range_is_refused));
