/* Goal: what is acknowledged is in the spool exactly once, whatever dies, fills up or comes twice. */
#include "service/queue.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/rand.h"
#include "tests/unit/service/spool_house.h"

enum { SECOND_US = 1000000, SMALL = 256 << 10, ROOMY = 64 << 20 };

static struct spool_house h;

static void
open_fresh(int64_t max_bytes)
{
	spool_house_make(&h, max_bytes);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&h), ERR_OK);
}

static void
reopen(void)
{
	queue_close(&h.q);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&h), ERR_OK);
}

static enum queue_outcome
put(const char *key, const char *payload)
{
	return spool_put(&h, "create", "acme", key, slice_of(payload), SECOND_US, NULL);
}

static enum queue_outcome
put_at(const char *key, int64_t accepted_us)
{
	return spool_put(&h, "create", "acme", key, SLICE("p"), accepted_us, NULL);
}

static void
put_many(const char *prefix, int n)
{
	char key[40];

	for (int i = 0; i < n; i++) {
		(void)snprintf(key, sizeof key, "%s-%d", prefix, i);
		CU_ASSERT_EQUAL(put(key, "p"), QUEUE_ACCEPTED);
	}
}

static void
what_was_accepted_is_read_in_order(void)
{
	struct event *events;
	struct arena a;
	size_t n;

	open_fresh(ROOMY);
	CU_ASSERT_EQUAL(put("k1", "one"), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(put("k2", "two"), QUEUE_ACCEPTED);
	reopen();
	arena_init(&a, 1 << 20);
	CU_ASSERT_EQUAL_FATAL(queue_read(h.q, 10, &a, &events, &n), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(n, 2);
	CU_ASSERT_TRUE(slice_eq_cstr(events[0].key, "k1"));
	CU_ASSERT_TRUE(slice_eq_cstr(events[0].params[0].value.text, "one"));
	CU_ASSERT_EQUAL(events[0].seq, 1);
	CU_ASSERT_EQUAL(events[1].seq, 2);
	CU_ASSERT_EQUAL(queue_read(h.q, 1, &a, &events, &n), ERR_OK);
	CU_ASSERT_EQUAL(n, 1);
	arena_free(&a);
	spool_house_free(&h);
}

static void
the_same_key_replays_the_first_answer_or_clashes(void)
{
	struct spool_write w;

	open_fresh(ROOMY);
	CU_ASSERT_EQUAL(put_at("k", 111), QUEUE_ACCEPTED);
	for (int round = 0; round < 3; round++) {
		spool_write_make(&w, "create", "acme", "k", SLICE("p"), 222);
		spool_claim(&h, &w.item);
		CU_ASSERT_EQUAL(w.item.outcome, QUEUE_REPLAYED);
		CU_ASSERT_EQUAL(w.item.accepted_us, 111);
		CU_ASSERT_EQUAL(w.item.seq, 1);
		arena_free(&w.arena);
		CU_ASSERT_EQUAL(put("k", "other"), QUEUE_MISMATCH);
		if (round == 0)
			reopen();
		else
			CU_ASSERT_EQUAL(queue_acknowledge(h.q, 1, 333), ERR_OK);
	}
	CU_ASSERT_EQUAL(spool_status(&h).keys, 1);
	spool_house_free(&h);
}

static void
tenants_and_endpoints_do_not_share_keys(void)
{
	open_fresh(ROOMY);
	CU_ASSERT_EQUAL(spool_put(&h, "create", "a", "k", SLICE("p"), 1, NULL), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(spool_put(&h, "create", "b", "k", SLICE("q"), 1, NULL), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(spool_put(&h, "delete", "a", "k", SLICE("q"), 1, NULL), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(spool_put(&h, "create", "", "k", SLICE("q"), 1, NULL), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(spool_put(&h, "create", "a", "k", SLICE("p"), 1, NULL), QUEUE_REPLAYED);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 4);
	spool_house_free(&h);
}

static void
twins_inside_one_commit_are_found(void)
{
	struct spool_write w[4];
	static const char *const payloads[] = { "p", "p", "other", "p" };
	static const enum queue_outcome want[] = { QUEUE_ACCEPTED, QUEUE_REPLAYED, QUEUE_MISMATCH,
		QUEUE_REPLAYED };

	open_fresh(ROOMY);
	for (int i = 0; i < 4; i++) {
		spool_write_make(&w[i], "create", "acme", "k", slice_of(payloads[i]), i);
		if (i > 0)
			w[i - 1].item.next = &w[i].item;
	}
	spool_claim(&h, &w[0].item);
	for (int i = 0; i < 4; i++) {
		CU_ASSERT_EQUAL(w[i].item.outcome, want[i]);
		CU_ASSERT_EQUAL(w[i].item.seq, 1);
		arena_free(&w[i].arena);
	}
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 1);
	spool_house_free(&h);
}

static void
a_key_replays_until_its_time_after_it_was_applied(void)
{
	const int64_t ttl_us = 1000 * 1000;
	uint64_t seq;

	open_fresh(ROOMY);
	CU_ASSERT_EQUAL(put_at("k", 0), QUEUE_ACCEPTED);
	/* Not applied: no time counts. */
	CU_ASSERT_EQUAL(put_at("k", 100 * ttl_us), QUEUE_REPLAYED);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 1, 100 * ttl_us), ERR_OK);
	CU_ASSERT_EQUAL(put_at("k", 101 * ttl_us), QUEUE_REPLAYED);
	CU_ASSERT_EQUAL(spool_put(&h, "create", "acme", "k", SLICE("new"), 101 * ttl_us + 1, &seq),
	    QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(seq, 2);
	/* The newer one is the one that counts now. */
	CU_ASSERT_EQUAL(put_at("k", 101 * ttl_us + 2), QUEUE_MISMATCH);
	spool_house_free(&h);
}

static void
an_acknowledgement_lets_old_keys_go(void)
{
	open_fresh(ROOMY);
	put_many("old", 50);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 20, 10 * SECOND_US), ERR_OK);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 50, 20 * SECOND_US), ERR_OK);
	CU_ASSERT_EQUAL(spool_status(&h).keys, 50 - 20);
	put_many("new", 1);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 51, 21 * SECOND_US), ERR_OK);
	CU_ASSERT_EQUAL(spool_status(&h).keys, 30 + 1); /* exactly its time: still there */
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 51, 21 * SECOND_US + 1), ERR_OK);
	CU_ASSERT_EQUAL(spool_status(&h).keys, 1);
	spool_house_free(&h);
}

static void
a_number_is_never_given_out_twice(void)
{
	uint64_t seq;

	open_fresh(ROOMY);
	put_many("k", 3);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 3, 0), ERR_OK);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 3, 100 * SECOND_US), ERR_OK);
	CU_ASSERT_EQUAL(spool_status(&h).keys, 0);
	reopen();
	CU_ASSERT_EQUAL(spool_status(&h).last_seq, 3);
	CU_ASSERT_EQUAL(spool_put(&h, "create", "acme", "k-0", SLICE("p"), 200 * SECOND_US, &seq),
	    QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(seq, 4);
	spool_house_free(&h);
}

static void
an_acknowledgement_of_what_never_came_is_refused(void)
{
	open_fresh(ROOMY);
	put_many("k", 2);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 3, 0), ERR_INVALID);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 2);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 1, 0), ERR_OK);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 1, 0), ERR_OK); /* again: no harm */
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 1);
	CU_ASSERT_EQUAL(spool_status(&h).applied_seq, 1);
	spool_house_free(&h);
}

static void
the_operations_endpoint_finds_what_waits_and_what_is_applied(void)
{
	struct queue_record r;
	struct arena a;
	uint8_t id[EVENT_ID_BYTES];

	open_fresh(ROOMY);
	arena_init(&a, 1 << 20);
	event_id_make(SLICE("acme"), SLICE("create"), SLICE("k"), id);
	CU_ASSERT_EQUAL(queue_find(h.q, id, &a, &r), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(put_at("k", 123), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL_FATAL(queue_find(h.q, id, &a, &r), ERR_OK);
	CU_ASSERT_EQUAL(r.accepted_us, 123);
	CU_ASSERT_EQUAL(r.applied_us, 0);
	CU_ASSERT_TRUE(slice_eq_cstr(r.tenant, "acme"));
	CU_ASSERT_TRUE(slice_eq_cstr(r.endpoint, "create"));
	CU_ASSERT_TRUE(slice_eq_cstr(r.key, "k"));
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 1, 456), ERR_OK);
	CU_ASSERT_EQUAL(queue_find(h.q, id, &a, &r), ERR_OK);
	CU_ASSERT_EQUAL(r.applied_us, 456);
	arena_free(&a);
	spool_house_free(&h);
}

static void
the_bound_holds_and_nothing_that_waits_is_given_up(void)
{
	uint64_t accepted = 0;
	char key[40];

	open_fresh(SMALL);
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(key, sizeof key, "k-%d", i);
		accepted += put(key, "some payload") == QUEUE_ACCEPTED;
		CU_ASSERT_TRUE(spool_status(&h).bytes <= SMALL);
	}
	CU_ASSERT_TRUE(accepted > 500 && accepted < 5000);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, accepted);
	CU_ASSERT_TRUE(spool_status(&h).full);
	CU_ASSERT_EQUAL(put("k-0", "some payload"), QUEUE_REPLAYED); /* costs no room */
	/* Applied: the oldest keys make room for new ones. */
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, accepted, SECOND_US), ERR_OK);
	put_many("again", 900);
	CU_ASSERT_FALSE(spool_status(&h).full);
	CU_ASSERT_TRUE(spool_status(&h).bytes <= SMALL);
	CU_ASSERT_EQUAL(put("k-0", "some payload"), QUEUE_ACCEPTED); /* forgotten early */
	CU_ASSERT_EQUAL(put("again-0", "p"), QUEUE_REPLAYED);
	spool_house_free(&h);
}

static void
one_item_that_is_too_large_does_not_stop_its_neighbours(void)
{
	static char big[SMALL];
	struct spool_write w[3];

	open_fresh(SMALL);
	put_many("old", 10);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 10, SECOND_US), ERR_OK);
	memset(big, 'x', sizeof big);
	spool_write_make(&w[0], "create", "acme", "a", SLICE("p"), 1);
	spool_write_make(&w[1], "create", "acme", "b", (struct slice){ big, sizeof big }, 1);
	spool_write_make(&w[2], "create", "acme", "c", SLICE("p"), 1);
	w[0].item.next = &w[1].item;
	w[1].item.next = &w[2].item;
	spool_claim(&h, &w[0].item);
	CU_ASSERT_EQUAL(w[0].item.outcome, QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(w[1].item.outcome, QUEUE_FULL);
	CU_ASSERT_EQUAL(w[2].item.outcome, QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 2);
	CU_ASSERT_EQUAL(spool_status(&h).keys, 12); /* none went for what would not fit anyway */
	for (int i = 0; i < 3; i++)
		arena_free(&w[i].arena);
	spool_house_free(&h);
}

static void
a_disk_without_its_reserve_takes_nothing_but_still_replays(void)
{
	open_fresh(ROOMY);
	CU_ASSERT_EQUAL(put("before", "p"), QUEUE_ACCEPTED);
	h.o.reserve_percent = 100;
	reopen();
	CU_ASSERT_EQUAL(put("k", "p"), QUEUE_FULL);
	CU_ASSERT_TRUE(spool_status(&h).full);
	CU_ASSERT_EQUAL(put("before", "p"), QUEUE_REPLAYED);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 1, SECOND_US), ERR_OK);
	spool_house_free(&h);
}

static void
a_failed_write_keeps_nothing_and_is_not_remembered(void)
{
	static char large[200000];
	struct rlimit before, small;
	struct stat st;
	struct queue_status s;

	open_fresh(ROOMY);
	CU_ASSERT_EQUAL(put("kept", "p"), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL_FATAL(fstatat(h.dir_fd, "spool/data.mdb", &st, 0), 0);
	memset(large, 'x', sizeof large - 1);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)getrlimit(RLIMIT_FSIZE, &before);
	small = before;
	small.rlim_cur = (rlim_t)st.st_size;
	(void)setrlimit(RLIMIT_FSIZE, &small);
	CU_ASSERT_EQUAL(put("k", large), QUEUE_FULL);
	CU_ASSERT_EQUAL(put("kept", "p"), QUEUE_REPLAYED);
	(void)setrlimit(RLIMIT_FSIZE, &before);
	s = spool_status(&h);
	CU_ASSERT_EQUAL(s.waiting, 1);
	CU_ASSERT_EQUAL(s.keys, 1);
	/* The hint of the failed one stands in the table; the next commit gives its number away. */
	CU_ASSERT_EQUAL(put("another", "p"), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(put("k", large), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(put("k", large), QUEUE_REPLAYED);
	spool_house_free(&h);
}

/* ${n} writes in one commit; how many of them came out as ${want}. */
static int
put_list(const char *prefix, int n, enum queue_outcome want)
{
	struct spool_write *w = calloc((size_t)n, sizeof *w);
	char key[40];
	int count = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	for (int i = 0; i < n; i++) {
		(void)snprintf(key, sizeof key, "%s-%d", prefix, i);
		spool_write_make(&w[i], "create", "acme", key, SLICE("p"), SECOND_US);
		if (i > 0)
			w[i - 1].item.next = &w[i].item;
	}
	spool_claim(&h, &w[0].item);
	for (int i = 0; i < n; i++) {
		count += w[i].item.outcome == want;
		arena_free(&w[i].arena);
	}
	free(w);
	return count;
}

static void
keys_that_a_failed_commit_had_forgotten_early_still_replay(void)
{
	enum { OLD = 1000, NEW = 1000 };
	struct rlimit before, small;

	open_fresh(SMALL);
	CU_ASSERT_EQUAL(put_list("old", OLD, QUEUE_ACCEPTED), OLD);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, OLD, SECOND_US), ERR_OK);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)getrlimit(RLIMIT_FSIZE, &before);
	small = before;
	small.rlim_cur = 4096; /* nothing but a first meta page can be written */
	(void)setrlimit(RLIMIT_FSIZE, &small);
	CU_ASSERT_EQUAL(put_list("new", NEW, QUEUE_FULL), NEW);
	(void)setrlimit(RLIMIT_FSIZE, &before);
	CU_ASSERT_EQUAL(spool_status(&h).keys, OLD);
	CU_ASSERT_EQUAL(put_list("old", OLD, QUEUE_REPLAYED), OLD);
	/* The same with a disk: now they do go. */
	CU_ASSERT_EQUAL(put_list("new", NEW, QUEUE_ACCEPTED), NEW);
	CU_ASSERT_TRUE(spool_status(&h).keys < OLD + NEW);
	spool_house_free(&h);
}

static void
hints_are_made_again_from_the_keys(void)
{
	open_fresh(ROOMY);
	put_many("k", 300);
	queue_shared_init(h.o.shared, h.o.max_bytes); /* a new segment */
	CU_ASSERT_EQUAL(queue_rebuild_hints(h.q), ERR_OK);
	CU_ASSERT_EQUAL(atomic_load(&h.o.shared->hinted_seq), 300);
	CU_ASSERT_EQUAL(put("k-0", "p"), QUEUE_REPLAYED);
	CU_ASSERT_EQUAL(put("k-299", "p"), QUEUE_REPLAYED);
	spool_house_free(&h);
}

/* An old and a new binary run side by side, each with a segment of its own. */
static void
what_another_segment_accepted_is_known_here(void)
{
	struct queue_shared *mine, *theirs;

	open_fresh(ROOMY);
	mine = h.o.shared;
	theirs = spool_shared_make(h.o.max_bytes);
	CU_ASSERT_EQUAL(put("mine", "p"), QUEUE_ACCEPTED);
	h.o.shared = theirs;
	reopen();
	CU_ASSERT_EQUAL(put("mine", "p"), QUEUE_REPLAYED);
	CU_ASSERT_EQUAL(put("theirs", "p"), QUEUE_ACCEPTED);
	h.o.shared = mine;
	reopen();
	CU_ASSERT_EQUAL(put("theirs", "other"), QUEUE_MISMATCH);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 2);
	(void)munmap(theirs, queue_shared_size(h.o.max_bytes));
	spool_house_free(&h);
}

static void
hints_that_lie_are_not_believed(void)
{
	struct queue_shared *s;
	size_t words;

	open_fresh(SMALL);
	put_many("k", 20);
	s = h.o.shared;
	words = s->bucket_count * HINT_BUCKET_WORDS;
	/* Every empty word claims to know every key, at numbers that exist or do not. */
	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < words; i++) {
			const uint64_t word = atomic_load(&s->words[i]);

			if (word >> HINT_TAG_BITS == 0 || word >> HINT_TAG_BITS > 20)
				atomic_store(&s->words[i],
				    (rand_u64() % 40) << HINT_TAG_BITS | (rand_u64() & 0xffffff));
		}
		CU_ASSERT_EQUAL(put("k-7", "p"), QUEUE_REPLAYED);
		CU_ASSERT_EQUAL(put("k-7", "other"), QUEUE_MISMATCH);
	}
	CU_ASSERT_EQUAL(spool_status(&h).waiting, 20);
	spool_house_free(&h);
}

static void
a_record_of_an_unknown_version_stops_the_reader_before_it(void)
{
	struct spool_write w;
	struct event *events;
	struct arena a;
	size_t n;

	open_fresh(ROOMY);
	put_many("good", 2);
	spool_write_make(&w, "create", "acme", "newer", SLICE("p"), 1);
	w.item.record = SLICE("\x63 from the future");
	spool_claim(&h, &w.item);
	put_many("behind", 1);
	arena_init(&a, 1 << 20);
	CU_ASSERT_EQUAL(queue_read(h.q, 10, &a, &events, &n), ERR_OK);
	CU_ASSERT_EQUAL(n, 2);
	CU_ASSERT_EQUAL(queue_acknowledge(h.q, 2, 1), ERR_OK);
	CU_ASSERT_EQUAL(queue_read(h.q, 10, &a, &events, &n), ERR_INVALID);
	CU_ASSERT_EQUAL(n, 0);
	arena_free(&w.arena);
	arena_free(&a);
	spool_house_free(&h);
}

static void
large_records_are_read_a_few_at_a_time(void)
{
	static char large[7 << 20];
	struct event *events;
	struct arena a;
	size_t n;

	open_fresh(ROOMY);
	memset(large, 'x', sizeof large - 1);
	CU_ASSERT_EQUAL(put("a", large), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(put("b", large), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(put("c", large), QUEUE_ACCEPTED);
	arena_init(&a, 64 << 20);
	CU_ASSERT_EQUAL(queue_read(h.q, 10, &a, &events, &n), ERR_OK);
	CU_ASSERT_EQUAL(n, 2);
	arena_free(&a);
	spool_house_free(&h);
}

static void
an_empty_log_has_nothing_to_read(void)
{
	struct event *events;
	struct arena a;
	size_t n;

	open_fresh(ROOMY);
	arena_init(&a, 1 << 20);
	CU_ASSERT_EQUAL(queue_read(h.q, 10, &a, &events, &n), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(spool_status(&h).oldest_accepted_us, 0);
	CU_ASSERT_EQUAL(put_at("k", 77), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(spool_status(&h).oldest_accepted_us, 77);
	queue_wait(h.q, INT32_MAX); /* something came since: at once */
	arena_free(&a);
	spool_house_free(&h);
}

static void
made_up_keys_are_remembered_and_applied(void)
{
	struct queue_status s;

	open_fresh(ROOMY);
	CU_ASSERT_EQUAL(queue_seed_keys(h.q, 45000, SECOND_US), ERR_OK);
	s = spool_status(&h);
	CU_ASSERT_EQUAL(s.keys, 45000);
	CU_ASSERT_EQUAL(s.waiting, 0);
	CU_ASSERT_EQUAL(s.applied_seq, 45000);
	CU_ASSERT_EQUAL(put("k", "p"), QUEUE_ACCEPTED);
	CU_ASSERT_EQUAL(queue_seed_keys(h.q, 1, SECOND_US), ERR_CONFLICT);
	spool_house_free(&h);
}

static void
a_folder_that_is_open_to_others_or_a_link_is_refused(void)
{
	spool_house_make(&h, ROOMY);
	CU_ASSERT_EQUAL(mkdirat(h.dir_fd, "spool", 0755), 0);
	CU_ASSERT_EQUAL(fchmodat(h.dir_fd, "spool", 0755, 0), 0);
	CU_ASSERT_EQUAL(spool_house_open(&h), ERR_DENIED);
	CU_ASSERT_EQUAL(unlinkat(h.dir_fd, "spool", AT_REMOVEDIR), 0);
	CU_ASSERT_EQUAL(symlinkat(".", h.dir_fd, "spool"), 0);
	CU_ASSERT_EQUAL(spool_house_open(&h), ERR_DENIED);
	CU_ASSERT_PTR_NULL(h.q);
	spool_house_free(&h);
}

/*
 * Many processes.
 */
enum { WRITERS = 4, WRITES = 200 };

struct tally {
	_Atomic int accepted[WRITES], other, wrong;
};

static void
claim_all(struct tally *t)
{
	struct spool_write w[WRITES];
	char key[WRITES][16];

	if (spool_house_open(&h) != ERR_OK)
		_exit(1);
	for (int i = 0; i < WRITES; i++) {
		(void)snprintf(key[i], sizeof key[i], "k-%d", i);
		spool_write_make(&w[i], "create", "acme", key[i], SLICE("p"), 1);
	}
	for (int i = 0; i < WRITES; i += 10) { /* ten a commit */
		for (int j = i; j < i + 9; j++)
			w[j].item.next = &w[j + 1].item;
		spool_claim(&h, &w[i].item);
		for (int j = i; j < i + 10; j++) {
			if (w[j].item.outcome == QUEUE_ACCEPTED)
				atomic_fetch_add(&t->accepted[j], 1);
			else if (w[j].item.outcome == QUEUE_REPLAYED)
				atomic_fetch_add(&t->other, 1);
			else
				atomic_fetch_add(&t->wrong, 1);
		}
	}
	for (int i = 0; i < WRITES; i++)
		arena_free(&w[i].arena);
	queue_close(&h.q);
}

static void *
shared_memory(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_NOT_EQUAL_FATAL(mem, MAP_FAILED);
	return mem;
}

static void
processes_that_send_the_same_keys_have_each_accepted_once(void)
{
	struct tally *t = shared_memory(sizeof *t);
	int status, twice = 0;

	spool_house_make(&h, ROOMY);
	for (int i = 0; i < WRITERS; i++)
		if (fork() == 0) {
			claim_all(t);
			_exit(0);
		}
	for (int i = 0; i < WRITERS; i++) {
		CU_ASSERT_TRUE(wait(&status) > 0);
		CU_ASSERT_EQUAL(status, 0);
	}
	for (int i = 0; i < WRITES; i++)
		twice += t->accepted[i] != 1;
	CU_ASSERT_EQUAL(twice, 0);
	CU_ASSERT_EQUAL(t->wrong, 0);
	CU_ASSERT_EQUAL(t->other, (WRITERS - 1) * WRITES);
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&h), ERR_OK);
	CU_ASSERT_EQUAL(spool_status(&h).waiting, WRITES);
	CU_ASSERT_EQUAL(spool_status(&h).hints_dropped, 0);
	spool_house_free(&h);
	(void)munmap(t, sizeof *t);
}

enum { STORM_ROUNDS = 25, STORM_KEYS = 4000 };

/* Writes keys of its own until it is killed; says of each when it was acknowledged. */
static void
write_until_killed(int round, _Atomic int *acknowledged)
{
	char key[40];

	if (spool_house_open(&h) != ERR_OK)
		_exit(1);
	for (int i = 0; i < STORM_KEYS; i++) {
		(void)snprintf(key, sizeof key, "r%d-%d", round, i);
		if (put(key, "p") == QUEUE_ACCEPTED)
			atomic_store(acknowledged, i + 1);
	}
	_exit(0);
}

static void
run_a_writer_and_kill_it(int round, _Atomic int *acknowledged)
{
	const pid_t victim = fork();
	int status;

	if (victim == 0)
		write_until_killed(round, &acknowledged[0]);
	while (atomic_load(&acknowledged[0]) < 1 + (int)(rand_u64() % 40) &&
	       waitpid(victim, &status, WNOHANG) == 0)
		for (volatile uint64_t spin = rand_u64() % 20000; spin > 0; spin--)
			;
	(void)kill(victim, SIGKILL);
	(void)waitpid(victim, &status, 0);
}

static void
a_storm_of_kills_loses_and_invents_nothing(void)
{
	_Atomic int *acknowledged = shared_memory(sizeof *acknowledged);
	uint64_t least = 0, most = 0, seq;
	struct event *events;
	struct arena a;
	size_t n;

	spool_house_make(&h, ROOMY);
	arena_init(&a, 256 << 20);
	for (int round = 0; round < STORM_ROUNDS; round++) {
		atomic_store(acknowledged, 0);
		run_a_writer_and_kill_it(round, acknowledged);
		/* The one in hand may or may not be there. */
		least += (uint64_t)atomic_load(acknowledged);
		most += (uint64_t)atomic_load(acknowledged) + 1;
	}
	CU_ASSERT_EQUAL_FATAL(spool_house_open(&h), ERR_OK);
	CU_ASSERT_TRUE(spool_status(&h).waiting >= least);
	CU_ASSERT_TRUE(spool_status(&h).waiting <= most);
	CU_ASSERT_EQUAL_FATAL(queue_read(h.q, STORM_ROUNDS * STORM_KEYS, &a, &events, &n), ERR_OK);
	CU_ASSERT_EQUAL(n, spool_status(&h).waiting);
	for (size_t i = 0; i < n; i++) {
		char *key = arena_copy(&a, events[i].key);

		CU_ASSERT_EQUAL(events[i].seq, i + 1);
		CU_ASSERT_EQUAL(spool_put(&h, "create", "acme", key, SLICE("p"), SECOND_US, &seq),
		    QUEUE_REPLAYED);
		CU_ASSERT_EQUAL(seq, i + 1);
	}
	arena_free(&a);
	spool_house_free(&h);
	(void)munmap((void *)(uintptr_t)acknowledged, sizeof *acknowledged);
}

UNIT_SUITE(queue, TEST(what_was_accepted_is_read_in_order),
    TEST(the_same_key_replays_the_first_answer_or_clashes),
    TEST(tenants_and_endpoints_do_not_share_keys), TEST(twins_inside_one_commit_are_found),
    TEST(a_key_replays_until_its_time_after_it_was_applied),
    TEST(an_acknowledgement_lets_old_keys_go), TEST(a_number_is_never_given_out_twice),
    TEST(an_acknowledgement_of_what_never_came_is_refused),
    TEST(the_operations_endpoint_finds_what_waits_and_what_is_applied),
    TEST(the_bound_holds_and_nothing_that_waits_is_given_up),
    TEST(one_item_that_is_too_large_does_not_stop_its_neighbours),
    TEST(a_disk_without_its_reserve_takes_nothing_but_still_replays),
    TEST(a_failed_write_keeps_nothing_and_is_not_remembered),
    TEST(keys_that_a_failed_commit_had_forgotten_early_still_replay),
    TEST(hints_are_made_again_from_the_keys), TEST(what_another_segment_accepted_is_known_here),
    TEST(hints_that_lie_are_not_believed),
    TEST(a_record_of_an_unknown_version_stops_the_reader_before_it),
    TEST(large_records_are_read_a_few_at_a_time), TEST(an_empty_log_has_nothing_to_read),
    TEST(made_up_keys_are_remembered_and_applied),
    TEST(a_folder_that_is_open_to_others_or_a_link_is_refused),
    TEST(processes_that_send_the_same_keys_have_each_accepted_once),
    TEST(a_storm_of_kills_loses_and_invents_nothing));
