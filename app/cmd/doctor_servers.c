/*
 * What `weir doctor` asks the machine and the other servers.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "client/kafka.h"
#include "client/pg.h"
#include "client/redis.h"
#include "cmd/doctor.h"
#include "cmd/reach.h"
#include "handlers/handlers.h"
#include "runtime/config.h"
#include "runtime/runtime.h"
#include "runtime/state_dir.h"
#include "service/catalog.h"
#include "service/primary.h"
#include "service/shards.h"

enum {
	BACKLOG = 4096,	     /* what weir asks for (runtime/server_socket.c) */
	DESCRIPTORS = 16384, /* exchanges of one worker */
	KAFKA_GOOD = 2,	     /* one partition is one consumer at work */
};

/*
 * The machine.
 */
static void
check_backlog(struct fault_list *findings)
{
	static const char file[] = "/proc/sys/net/core/somaxconn";
	const int fd = open(file, O_RDONLY | O_CLOEXEC);
	char text[32] = "";
	int64_t most = BACKLOG;

	if (fd == -1)
		return;
	if (read(fd, text, sizeof text - 1) > 0)
		(void)slice_to_i64((struct slice){ text, strcspn(text, "\n") }, &most);
	(void)close(fd);
	if (most < BACKLOG)
		fault_warn(findings, file, 0,
		    "%" PRId64
		    " connections wait at most, then nginx answers 502; weir asks for %d; "
		    "add to /etc/sysctl.d/weir.conf: net.core.somaxconn = %d",
		    most, BACKLOG, BACKLOG);
}

static void
check_descriptors(struct fault_list *findings)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < DESCRIPTORS)
		fault_warn(findings, "ulimit", 0,
		    "%llu open files at most, a worker takes up to %d requests at once; add to the "
		    "unit: LimitNOFILE=65536",
		    (unsigned long long)limit.rlim_max, DESCRIPTORS);
}

void
doctor_machine(const struct config *c, struct fault_list *findings)
{
	int fd;

	if (access(c->state_dir, F_OK) == 0 &&
	    state_dir_open(c->state_dir, findings, &fd) == ERR_OK)
		(void)close(fd);
	check_backlog(findings);
	check_descriptors(findings);
}

/*
 * PostgreSQL.
 */
/* The one number that ${sql} gives; 0: it cannot be asked. */
static int64_t
ask_number(const struct database *d, const char *sql, int64_t deadline_ms, struct pg_fault *why)
{
	const struct pg_statement s = { .name = "doctor", .sql = sql };
	struct primary_link link = { .pg = NULL };
	struct pg_result *r = NULL;
	int64_t n = 0;
	enum err rc = primary_connect(d->primary, PRIMARY_REQUEST, deadline_ms, &link, why);

	if (rc == ERR_OK)
		rc = primary_ask(d->primary, link.pg, &s, deadline_ms, &r, why);
	if (rc == ERR_OK && pg_rows(r) > 0)
		(void)slice_to_i64(pg_text(r, 0, 0), &n);
	pg_result_free(&r);
	primary_hang_up(d->primary, &link);
	return n;
}

static void
check_postgresql(const struct config *c, struct fault_list *findings)
{
	static const char allowed[] = "SELECT current_setting('max_connections')::int8 - "
				      "current_setting('superuser_reserved_connections')::int8";
	const int64_t wanted = c->db_write_pool_max + c->db_read_pool_max;
	const int64_t deadline_ms = clock_mono_ms() + 2 * c->db_timeout_ms;
	struct pg_fault why = { .message = "" };
	struct database d;
	int64_t most = 0;
	enum err rc = runtime_database_open(c, NULL, &d);

	if (rc == ERR_OK) {
		primary_wait(d.primary, deadline_ms);
		most = ask_number(&d, allowed, deadline_ms, &why);
		runtime_database_close(&d);
	}
	if (most == 0)
		fault_warn(findings, "DB_WRITE_URL", 0,
		    "cannot be asked (%s): writes wait meanwhile", why.message);
	else if (wanted > most)
		fault_warn(findings, "DB_WRITE_POOL_MAX", 0,
		    "this host may open %" PRId64
		    " connections (with DB_READ_POOL_MAX), the server "
		    "lets in %" PRId64
		    " in all; add to postgresql.conf: max_connections = %" PRId64,
		    wanted, most, wanted + 10);
}

/*
 * Redis.
 */
/* The value of ${name} in the text of INFO. */
static struct slice
info_of(struct slice text, const char *name)
{
	while (text.ptr != NULL) {
		struct slice line = slice_cut(&text, '\n');
		const struct slice key = slice_cut(&line, ':');

		if (slice_eq_cstr(key, name)) {
			if (line.len > 0 && line.ptr[line.len - 1] == '\r')
				line.len--;
			return line;
		}
	}
	return SLICE("");
}

static void
judge_memory(const char *shard, struct slice info, struct fault_list *findings)
{
	const struct slice policy = info_of(info, "maxmemory_policy");
	int64_t most = 0;

	(void)slice_to_i64(info_of(info, "maxmemory"), &most);
	if (most > 0 && !slice_eq_cstr(policy, "noeviction"))
		fault_warn(findings, "REDIS_URL", 0,
		    "%s drops what it likes when its %" PRId64 " bytes are full (%.*s): limits, "
		    "idempotency keys and locks too; add to redis.conf: maxmemory-policy "
		    "noeviction",
		    shard, most, (int)policy.len, policy.ptr);
	if (most == 0)
		fault_warn(findings, "REDIS_URL", 0,
		    "%s takes all memory that there is; add to redis.conf: maxmemory 1gb", shard);
}

static void
check_redis(const struct config *c, struct fault_list *findings)
{
	const struct slice info[] = { SLICE("INFO"), SLICE("memory") };
	struct redis_reply *reply;
	struct reach_redis redis;

	if (reach_redis_open(c, &redis) != ERR_OK)
		return;
	for (size_t i = 0; i < shards_count(redis.shards); i++) {
		const char *shard = shards_url(redis.shards, i);

		if (shards_call(redis.shards, i, info, 2, clock_mono_ms(), &reply) == ERR_OK)
			judge_memory(shard, redis_reply_text(reply), findings);
		else
			fault_warn(findings, "REDIS_URL", 0,
			    "%s does not answer within REDIS_TIMEOUT: limits are each host's own",
			    shard);
		redis_reply_free(&reply);
	}
	reach_redis_close(&redis);
}

/*
 * Kafka.
 */
static void
judge_topic(const char *topic, size_t partitions, size_t members, struct fault_list *findings)
{
	if (partitions < members || partitions < KAFKA_GOOD)
		fault_warn(findings, "KAFKA_BROKERS", 0,
		    "topic %s has %zu partition%s for %zu consumer%s, so the others wait; run: "
		    "kafka-topics.sh --alter --topic %s --partitions %zu",
		    topic, partitions, partitions == 1 ? "" : "s", members, members == 1 ? "" : "s",
		    topic, members > 6 ? members : 6);
}

static void
check_kafka(const struct config *c, struct fault_list *findings)
{
	const struct catalog *catalog = NULL;
	struct kafka_place *places = NULL;
	size_t count = 0, members = 0, first = 0;
	enum err rc = runtime_catalog(c, &handlers, NULL, findings, &catalog);

	if (rc == ERR_OK)
		rc = reach_kafka(c, catalog, &places, &count, &members);
	if (rc != ERR_OK)
		fault_warn(findings, "KAFKA_BROKERS", 0,
		    "%s does not answer (%s): writes stay in the spool", c->kafka_brokers,
		    err_name(rc));
	for (size_t i = 0; places != NULL && i < count; i++) {
		if (i + 1 < count && strcmp(places[i].topic, places[i + 1].topic) == 0)
			continue;
		judge_topic(places[i].topic, i + 1 - first, members, findings);
		first = i + 1;
	}
	free(places);
	catalog_release(&catalog);
}

void
doctor_servers(const struct config *c, struct fault_list *findings)
{
	if (config_on_postgresql(c))
		check_postgresql(c, findings);
	if (c->redis_url != NULL)
		check_redis(c, findings);
	if (c->kafka_brokers != NULL)
		check_kafka(c, findings);
}
