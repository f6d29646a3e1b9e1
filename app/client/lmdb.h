#ifndef CLIENT_LMDB_H
#define CLIENT_LMDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * LMDB, thin: one environment of a process with a few tables of 64-bit numbers -> bytes, which grow at
 * the tail and shrink at the head.  Many processes share the files; a commit is atomic and durable
 * (two fsyncs); a killed holder of the write lock blocks nobody.  (lmdb.h of 0.9.24.)
 *
 * A transaction belongs to one thread from begin to commit or abort.  A write transaction waits for the
 * host's only write lock, which has no deadline: never on a reactor.  Reads never wait for writers.  A read
 * transaction keeps old pages alive: no longer than one look-up.
 *
 * Failures are logged here.  ERR_FULL: map, disk or quota; ERR_NOT_FOUND; ERR_CONFLICT: number not
 * above the last; ERR_TOO_LARGE: too much for one transaction; ERR_DENIED; ERR_NOMEM; ERR_IO.
 * After a failed write, abort: nothing of the transaction is kept.
 */
struct lmdb;
struct lmdb_txn;

enum { LMDB_MAX_TABLES = 4, LMDB_MAX_READERS = 4096 };

struct lmdb_options {
	const char *dir; /* exists; its files are made with mode 0600 */
	int dir_fd;	 /* the same folder; lent for the environment's life */
	size_t map_bytes;
	unsigned table_count;
	const char *const *table_names; /* constant text */
};

/* Once a process, after exec.  ERR_CONFLICT: somebody has been opening it for 15 s. */
enum err lmdb_open(const struct lmdb_options *o, struct lmdb **out);
void lmdb_close(struct lmdb **lp);

enum err lmdb_begin_read(struct lmdb *l, struct lmdb_txn **out);
enum err lmdb_begin_write(struct lmdb *l, struct lmdb_txn **out);
enum err lmdb_commit(struct lmdb_txn **tp);
void lmdb_abort(struct lmdb_txn **tp);

/* Values point into the map: good until the transaction ends or, in a write, until the next change. */
enum err lmdb_get(struct lmdb_txn *t, unsigned table, uint64_t seq, struct slice *value_out);

/* Each table has one cursor: seek puts it on the first row at or after ${from}, last on the last one, next on the next. */
enum err lmdb_seek(
    struct lmdb_txn *t, unsigned table, uint64_t from, uint64_t *seq_out, struct slice *value_out);
enum err lmdb_last(struct lmdb_txn *t, unsigned table, uint64_t *seq_out, struct slice *value_out);
enum err lmdb_next(struct lmdb_txn *t, unsigned table, uint64_t *seq_out, struct slice *value_out);

enum err lmdb_append(struct lmdb_txn *t, unsigned table, uint64_t seq, struct slice value);

/* Deletes rows from the head up to and including ${through}, at most ${max}. */
enum err lmdb_drop_head(
    struct lmdb_txn *t, unsigned table, uint64_t through, size_t max, size_t *dropped_out);

struct lmdb_table_size {
	uint64_t rows, bytes; /* whole pages */
};
enum err lmdb_table_size(struct lmdb_txn *t, unsigned table, struct lmdb_table_size *out);
/* Whole pages that a row of ${value_bytes} may need beyond those that its table has. */
uint64_t lmdb_row_bytes(const struct lmdb *l, size_t value_bytes);

/* Gives back the reader slots of dead processes, whose snapshots would keep freed pages from use. */
void lmdb_check_readers(struct lmdb *l);

#endif
