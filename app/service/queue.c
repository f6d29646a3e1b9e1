/*
 * The queue as its users see it: opening and closing, and the committer
 * thread with the list of what waits for it.
 *
 * While one commit waits for the disk, everything submitted gathers and goes with the next: the
 * more come, the more share one fsync.
 */
#include "service/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/wake.h"
#include "service/queue_spool.h"

enum {
	WAITING_MAX = 16384,
	COMMIT_MAX_ITEMS = 1024,
	COMMIT_MAX_BYTES = 16 << 20, /* held in memory until the commit */
	REBUILD_STEP = 4096,
	MAP_SPARE_BYTES = 64 << 20,
	GATHER_NS = 500000,
};

static const char *const table_names[SPOOL__TABLES] = {
	[SPOOL_LOG] = "log",
	[SPOOL_KEYS] = "keys",
	[SPOOL_MARKS] = "marks",
};

static enum err
open_folder(struct queue *q)
{
	struct stat st;

	if (mkdirat(q->o.state_dir_fd, "spool", 0700) == -1 && errno != EEXIST)
		return errno == EACCES || errno == EROFS ? ERR_DENIED : ERR_IO;
	q->spool_fd =
	    openat(q->o.state_dir_fd, "spool", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (q->spool_fd == -1 || fstat(q->spool_fd, &st) == -1)
		return errno == ENOTDIR || errno == ELOOP || errno == EACCES ? ERR_DENIED : ERR_IO;
	return st.st_uid == geteuid() && (st.st_mode & 077) == 0 ? ERR_OK : ERR_DENIED;
}

static enum err
open_tables(struct queue *q)
{
	struct lmdb_options o = {
		.dir_fd = q->spool_fd,
		.map_bytes =
		    (size_t)q->o.max_bytes * 2 + MAP_SPARE_BYTES, /* copies on write, gaps */
		.table_count = SPOOL__TABLES,
		.table_names = table_names,
	};
	char *dir = NULL;
	enum err rc;

	if (q->o.max_bytes <= 0 || q->o.max_bytes > INT64_MAX / 4)
		return ERR_INVALID;
	if (asprintf(&dir, "%s/spool", q->o.state_dir) == -1)
		return ERR_NOMEM;
	o.dir = dir;
	rc = lmdb_open(&o, &q->db);
	free(dir);
	/* The names of new files must be as durable as what will be in them. */
	if (rc == ERR_OK && (fsync(q->spool_fd) == -1 || fsync(q->o.state_dir_fd) == -1))
		rc = errno == EINVAL ? ERR_OK : ERR_IO;
	return rc;
}

enum err
queue_open(const struct queue_options *o, struct queue **out)
{
	struct queue *q = calloc(1, sizeof *q);
	enum err rc = ERR_NOMEM;

	*out = NULL;
	if (q == NULL)
		return rc;
	q->o = *o;
	q->spool_fd = -1;
	q->tail = &q->head;
	q->acking_tail = &q->acking;
	(void)pthread_mutex_init(&q->lock, NULL);
	(void)pthread_cond_init(&q->wakes, NULL);
	rc = open_folder(q);
	if (rc == ERR_OK)
		rc = open_tables(q);
	if (rc != ERR_OK)
		log_error("spool_open_failed", LOG_STR("dir", o->state_dir), LOG_ERR("error", rc));
	q->o.state_dir = NULL; /* lent for this call */
	*out = q;
	if (rc != ERR_OK)
		queue_close(out);
	return rc;
}

void
queue_close(struct queue **qp)
{
	struct queue *q = *qp;

	if (q == NULL)
		return;
	*qp = NULL;
	(void)pthread_mutex_lock(&q->lock);
	q->stopping = true;
	(void)pthread_cond_signal(&q->wakes);
	(void)pthread_mutex_unlock(&q->lock);
	if (q->started)
		(void)pthread_join(q->committer, NULL);
	if (q->acks) {
		wake_all(&q->o.shared->forwarded);
		(void)pthread_join(q->acker, NULL);
	}
	lmdb_close(&q->db);
	if (q->spool_fd != -1)
		(void)close(q->spool_fd);
	(void)pthread_cond_destroy(&q->wakes);
	(void)pthread_mutex_destroy(&q->lock);
	free(q);
}

enum err
queue_rebuild_hints(struct queue *q)
{
	struct spool_view v;
	uint64_t hinted = 0;
	enum err rc;

	do { /* in steps, for a long read would keep freed pages from use */
		v = (struct spool_view){ 0 };
		rc = lmdb_begin_read(q->db, &v.txn);
		if (rc == ERR_OK)
			rc = spool_view(v.txn, &v);
		if (rc == ERR_OK)
			rc = spool_catch_up(q, &v, REBUILD_STEP, &hinted);
		lmdb_abort(&v.txn);
		if (rc == ERR_OK)
			atomic_store(&q->o.shared->hinted_seq, hinted);
	} while (rc == ERR_OK && hinted < v.range.last);
	return rc;
}

/* False: nothing came, and the end has. */
static bool
wait_for_items(struct queue *q)
{
	bool any;

	(void)pthread_mutex_lock(&q->lock);
	while (q->head == NULL && !q->stopping)
		(void)pthread_cond_wait(&q->wakes, &q->lock);
	any = q->head != NULL;
	(void)pthread_mutex_unlock(&q->lock);
	return any;
}

/* Takes from the list what one transaction may hold; NULL: all were withdrawn meanwhile. */
static struct queue_item *
pick_up(struct queue *q)
{
	struct queue_item *first, **end = &first;
	size_t items = 0, bytes = 0;

	(void)pthread_mutex_lock(&q->lock);
	while (q->head != NULL && items < COMMIT_MAX_ITEMS &&
	       (items == 0 || bytes + q->head->record.len <= COMMIT_MAX_BYTES)) {
		*end = q->head;
		q->head->waiting = false;
		bytes += q->head->record.len;
		items++;
		end = &q->head->next;
		q->head = q->head->next;
	}
	if (q->head == NULL)
		q->tail = &q->head;
	q->waiting -= items;
	(void)pthread_mutex_unlock(&q->lock);
	*end = NULL;
	return first;
}

/*
 * Between two commits: more gather and share the next fsync, and the other workers get the host's write lock,
 * which is not fair.  A lone write after a quiet time waits for nothing.
 */
static void
let_gather(int64_t since_ns)
{
	const int64_t left_ns = GATHER_NS - (clock_mono_ns() - since_ns);

	if (left_ns > 0)
		(void)nanosleep(&(struct timespec){ .tv_nsec = (long)left_ns }, NULL);
}

/*
 * The host's write lock comes first: whoever holds it may have been stopped, and an item that nobody has
 * picked up can still be withdrawn.  What comes meanwhile goes along.
 */
static void *
commit_all(void *arg)
{
	struct queue *q = arg;
	struct queue_item *items, *next;
	struct lmdb_txn *txn;
	int64_t committed_ns = 0;
	enum err rc;

	while (wait_for_items(q)) {
		let_gather(committed_ns);
		rc = lmdb_begin_write(q->db, &txn);
		items = pick_up(q);
		queue_claim(q, txn, rc, items);
		committed_ns = clock_mono_ns();
		for (; items != NULL; items = next) {
			next = items->next; /* done() gives the item away */
			if (!queue_ack_later(q, items))
				items->done(items);
		}
	}
	return NULL;
}

enum err
queue_start(struct queue *q)
{
	if (q->o.ack_forwarded) {
		q->acks = thread_start(0, queue_ack_thread, q, &q->acker);
		if (!q->acks)
			return ERR_NOMEM;
	}
	q->started = thread_start(0, commit_all, q, &q->committer);
	return q->started ? ERR_OK : ERR_NOMEM;
}

enum err
queue_submit(struct queue *q, struct queue_item *item)
{
	enum err rc = ERR_OVERLOADED;

	if (item->record.len == 0 || !spool_key_fits(item->event))
		return ERR_TOO_LARGE;
	item->next = NULL;
	item->seq = 0;
	(void)pthread_mutex_lock(&q->lock);
	if (!q->started || q->stopping) {
		rc = ERR_UNAVAILABLE;
	} else if (q->waiting < WAITING_MAX) {
		item->waiting = true;
		*q->tail = item;
		q->tail = &item->next;
		q->waiting++;
		(void)pthread_cond_signal(&q->wakes);
		rc = ERR_OK;
	}
	(void)pthread_mutex_unlock(&q->lock);
	return rc;
}

bool
queue_withdraw(struct queue *q, struct queue_item *item)
{
	struct queue_item **at = &q->head;
	bool waiting;

	(void)pthread_mutex_lock(&q->lock);
	waiting = item->waiting;
	if (waiting) {
		while (*at != item)
			at = &(*at)->next;
		*at = item->next;
		if (q->tail == &item->next)
			q->tail = at;
		item->waiting = false;
		q->waiting--;
	} else {
		waiting = queue_ack_withdraw(q, item);
	}
	(void)pthread_mutex_unlock(&q->lock);
	return waiting;
}

void
queue_wait(struct queue *q, int64_t timeout_ms)
{
	wake_wait(&q->o.shared->wake, q->wake_seen, timeout_ms);
}
