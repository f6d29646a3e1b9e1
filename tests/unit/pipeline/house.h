#ifndef TESTS_UNIT_PIPELINE_HOUSE_H
#define TESTS_UNIT_PIPELINE_HOUSE_H

#include "pipeline/pipeline.h"

/*
 * The pipeline without a socket: real router, limits, cache and flights over plain memory, a database and a queue
 * that are orders to a fake.
 */
struct house {
	struct pipeline_env env;
	struct cache cache;
	struct quota quota;
	void *memory[7];
	_Atomic uint32_t in_hand;
	const struct catalog *catalog;
	unsigned rung; /* how often the cache rang a doorbell */
};

/* What the fake database says next, and how often it was asked. */
struct fake_read {
	const char *json; /* one column "v"; NULL: the problem below */
	int status;
	enum err failure;
	int queries;
	/* Runs inside the query, for what happens meanwhile. */
	void (*meanwhile)(void *ctx);
	void *ctx;
};
extern struct fake_read fake_read;

void house_open(
    struct house *h, const char *const *files, size_t count); /* texts of endpoint files */
void house_close(struct house *h);

/* One request from begin to end, lanes included; parked ones come back as they are. */
struct visit {
	struct exchange x;
	enum pipeline_result result;
	const char *envp[32];
	char text[32][256];
	struct slice body;
	enum err body_rc;     /* what reading it says, */
	int64_t body_took_ms; /* how long it took, */
	unsigned bodies_read; /* and how often it was read */
};
void visit_begin(struct visit *v, struct house *h, const char *method, const char *uri);
void visit_param(struct visit *v, const char *name, const char *value);
void visit_run(struct visit *v); /* until done or parked */
const char *visit_header(
    struct visit *v, const char *name); /* "" when absent; valid until the next call */
void visit_end(struct visit *v);

#endif
