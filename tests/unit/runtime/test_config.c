/* Goal: settings come from where they should, mean what they say, and are never half understood. */
#include "runtime/config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "client/kafka.h"
#include "http/address.h"
#include "http/endpoint.h"
#include "runtime/worker_env.h"
#include "service/otel_settings.h"
#include "tests/support/unit.h"

enum { PATH_BYTES = 4300, ENVIRONMENT_MAX = 16 };

static char dir[PATH_BYTES]; /* of this test's files */
static struct config *config;
static struct fault_list faults;

static void
fresh_dir(void)
{
	static unsigned n;

	(void)snprintf(dir, sizeof dir, "%s/config-%u", unit_dir(), n++);
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
}

static const char *
path_of(const char *name)
{
	static char path[PATH_BYTES + 64];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static const char *
write_file(const char *name, const char *text)
{
	FILE *f = fopen(path_of(name), "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fputs(text, f) < 0, 0);
	CU_ASSERT_EQUAL(fclose(f), 0);
	return path_of(name);
}

static void
drop(void)
{
	config_free(&config);
	fault_free(&faults);
}

static enum err
load_from(const struct config_input *in)
{
	fault_init(&faults);
	return config_load(in, &faults, &config);
}

/* ${env}: "NAME=value" strings, NULL-terminated. */
static enum err
load(const char *const *env, const char *env_file)
{
	const struct config_input in = { .environment = env, .env_file = env_file };

	return load_from(&in);
}

#define ENV(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NO_ENV	 ((const char *const[]){ NULL })

/* How many faults and warnings have all of these words (NULL: no such word). */
static size_t
faults_with(const char *a, const char *b, const char *c)
{
	size_t n = 0;

	for (size_t i = 0; i < faults.count; i++) {
		const char *text = faults.items[i].text;

		n += strstr(text, a) != NULL && (b == NULL || strstr(text, b) != NULL) &&
		     (c == NULL || strstr(text, c) != NULL);
	}
	return n;
}

/* ${one} setting alone: does it load? */
static bool
is_good(const char *one)
{
	const enum err rc = load(ENV(one), NULL);
	const bool good = rc == ERR_OK && faults.count == 0;

	drop();
	return good;
}

static void
with_nothing_set_it_is_the_embedded_default(void)
{
	char cwd[PATH_BYTES], want[PATH_BYTES + 64];

	CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(cwd, sizeof cwd));
	CU_ASSERT_EQUAL_FATAL(load(NO_ENV, NULL), ERR_OK);
	(void)snprintf(want, sizeof want, "%s/var", cwd);
	CU_ASSERT_STRING_EQUAL(config->state_dir, want);
	(void)snprintf(want, sizeof want, "unix:%s/var/weir.sock", cwd);
	CU_ASSERT_STRING_EQUAL(config->listen, want);
	(void)snprintf(want, sizeof want, "sqlite:%s/var/weir.db", cwd);
	CU_ASSERT_STRING_EQUAL(config->db_write_url, want);
	CU_ASSERT_STRING_EQUAL(config->db_read_url, want);
	CU_ASSERT_EQUAL(config->listen_mode, 0660);
	CU_ASSERT_TRUE(config->workers >= 1);
	CU_ASSERT_EQUAL(config->cache_bytes, 64 << 20);
	CU_ASSERT_EQUAL(config->drain_ms, 65000);
	CU_ASSERT_EQUAL(config->rate_limit_points, 100);
	CU_ASSERT_EQUAL(config->rate_limit_duration_ms, 1000);
	CU_ASSERT_EQUAL(config->rate_limit_algorithm, LIMIT_TOKEN_BUCKET);
	CU_ASSERT_EQUAL(config->idempotency_ttl_ms, 86400000);
	CU_ASSERT_PTR_NULL(config->log_file);
	CU_ASSERT_PTR_NULL(config->shm);
	CU_ASSERT_EQUAL(config->trusted_proxies.count, 0);
	CU_ASSERT_TRUE(cidr_list_has(
	    config->listen_allow.list, config->listen_allow.count, SLICE("127.0.0.9")));
	CU_ASSERT_EQUAL(faults.count, 0);
	drop();
}

static void
command_line_beats_environment_beats_env_file_beats_default(void)
{
	const struct config_override typed[] = { { "WEIR_LISTEN", "127.0.0.1:9001" } };
	const struct config_input in = {
		.environment = ENV("WEIR_LISTEN=127.0.0.1:9002", "WEIR_THREADS=5", "PATH=/bin"),
		.env_file = (fresh_dir(),
		    write_file("weir.env", "WEIR_LISTEN=127.0.0.1:9003\nWEIR_THREADS=6\n"
					   "# not this one\nWEIR_WORKERS=7\n")),
		.overrides = typed,
		.override_count = 1,
	};

	CU_ASSERT_EQUAL_FATAL(load_from(&in), ERR_OK);
	CU_ASSERT_STRING_EQUAL(config->listen, "127.0.0.1:9001");
	CU_ASSERT_EQUAL(config->threads, 5);
	CU_ASSERT_EQUAL(config->workers, 7);
	CU_ASSERT_STRING_EQUAL(config->texts[CONFIG_KEY_listen].origin, "command line");
	CU_ASSERT_STRING_EQUAL(config->texts[CONFIG_KEY_threads].origin, "environment");
	CU_ASSERT_PTR_NOT_NULL(strstr(config->texts[CONFIG_KEY_workers].origin, "/weir.env:4"));
	CU_ASSERT_STRING_EQUAL(config->texts[CONFIG_KEY_drain_ms].origin, "default");
	drop();
}

static void
an_env_file_in_the_working_directory_is_read_unasked(void)
{
	char cwd[PATH_BYTES];

	fresh_dir();
	CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(cwd, sizeof cwd));
	(void)write_file(".env", "WEIR_THREADS=3\n");
	CU_ASSERT_EQUAL_FATAL(chdir(dir), 0);
	CU_ASSERT_EQUAL(load(NO_ENV, NULL), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(chdir(cwd), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(config);
	CU_ASSERT_EQUAL(config->threads, 3);
	drop();
}

static void
relative_paths_count_from_the_env_file_and_typed_ones_from_here(void)
{
	const struct config_override typed[] = { { "WEIR_LISTEN", "unix:here.sock" } };
	const struct config_input in = {
		.environment = ENV("LOG_FILE=log/weir.log"),
		.env_file = (fresh_dir(),
		    write_file("weir.env", "WEIR_STATE_DIR=state\nWEIR_HANDLERS=a:/abs/b\n"
					   "DB_READ_URL=sqlite:copy.db\n")),
		.overrides = typed,
		.override_count = 1,
	};
	char cwd[PATH_BYTES], want[PATH_BYTES * 2];

	CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(cwd, sizeof cwd));
	CU_ASSERT_EQUAL_FATAL(load_from(&in), ERR_OK);
	CU_ASSERT_STRING_EQUAL(config->state_dir, path_of("state"));
	CU_ASSERT_STRING_EQUAL(config->log_file, path_of("log/weir.log"));
	(void)snprintf(want, sizeof want, "%s/a:/abs/b", dir);
	CU_ASSERT_STRING_EQUAL(config->handlers, want);
	(void)snprintf(want, sizeof want, "sqlite:%s/copy.db", dir);
	CU_ASSERT_STRING_EQUAL(config->db_read_url, want);
	(void)snprintf(want, sizeof want, "unix:%s/here.sock", cwd);
	CU_ASSERT_STRING_EQUAL(config->listen, want);
	drop();
}

static void
all_faults_are_said_at_once_with_name_value_and_expectation(void)
{
	CU_ASSERT_EQUAL(load(ENV("WEIR_WORKERS=many", "DB_TIMEOUT=soon", "LOG_LEVEL=loud",
				 "WEIR_LISTEN=nowhere", "WEIR_TRUSTED_PROXIES=300.0.0.0/8",
				 "WEIR_LISTEN_MODE=rw-rw-", "WEIR_LISTEN_GROUP=no such group",
				 "WEIR_CACHE_BYTES=12 parsecs"),
			    NULL),
	    ERR_INVALID);
	CU_ASSERT_EQUAL(faults.errors, 8);
	CU_ASSERT_EQUAL(faults_with("WEIR_WORKERS", "\"many\"", "from 1 to 240 (processes)"), 1);
	CU_ASSERT_EQUAL(faults_with("DB_TIMEOUT", "\"soon\"", "a duration from 1ms to 10m"), 1);
	CU_ASSERT_EQUAL(faults_with("LOG_LEVEL", "\"loud\"", "debug, info, warn or error"), 1);
	CU_ASSERT_EQUAL(faults_with("WEIR_LISTEN ", "\"nowhere\"", "HOST:PORT"), 1);
	CU_ASSERT_EQUAL(faults_with("WEIR_TRUSTED_PROXIES", "\"300.0.0.0/8\"", "CIDRs"), 1);
	CU_ASSERT_EQUAL(faults_with("WEIR_LISTEN_MODE", "\"rw-rw-\"", "octal"), 1);
	CU_ASSERT_EQUAL(faults_with("WEIR_LISTEN_GROUP", "\"no such group\"", "group"), 1);
	CU_ASSERT_EQUAL(faults_with("WEIR_CACHE_BYTES", "\"12 parsecs\"", "from 1m to 1024g"), 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(config); /* good enough to look for more faults */
	CU_ASSERT_TRUE(config->workers >= 1);
	drop();
}

static void
a_fault_in_an_env_file_has_its_line(void)
{
	fresh_dir();
	CU_ASSERT_EQUAL(load(NO_ENV, write_file("weir.env", "\nWEIR_THREADS=4\nDB_TIMEOUT=soon\n")),
	    ERR_INVALID);
	CU_ASSERT_EQUAL_FATAL(faults.count, 1);
	CU_ASSERT_EQUAL(faults.items[0].line, 3);
	CU_ASSERT_STRING_EQUAL(faults.items[0].file, path_of("weir.env"));
	drop();
}

static void
a_bad_env_file_is_refused(void)
{
	fresh_dir();
	CU_ASSERT_EQUAL(load(NO_ENV, write_file("a.env", "WEIR_THREADS 4\n")), ERR_INVALID);
	CU_ASSERT_EQUAL(faults.items[0].line, 1);
	drop();
	CU_ASSERT_EQUAL(
	    load(NO_ENV, write_file("b.env", "LOG_LEVEL=info\nLOG_LEVEL=warn\n")), ERR_INVALID);
	CU_ASSERT_EQUAL(faults_with("LOG_LEVEL", "line 1", NULL), 1);
	drop();
	/* All of its faults, each with its line. */
	CU_ASSERT_EQUAL(
	    load(NO_ENV,
		write_file("d.env", "no name\nWEIR_THREADS=4\nLOG_LEVEL=\"info\nWEIR_FOO=1\n")),
	    ERR_INVALID);
	CU_ASSERT_EQUAL_FATAL(faults.errors, 3);
	CU_ASSERT_EQUAL(faults.items[0].line, 1);
	CU_ASSERT_EQUAL(faults.items[1].line, 3);
	CU_ASSERT_EQUAL(faults.items[2].line, 4);
	CU_ASSERT_EQUAL(config->threads, 4);
	drop();
	CU_ASSERT_EQUAL(load(NO_ENV, path_of("there is none")), ERR_INVALID);
	drop();
}

static bool
is_number_good(const struct config_info *info, int64_t n)
{
	char one[128];

	(void)snprintf(one, sizeof one, "%s=%" PRId64 "%s", info->name, n,
	    info->kind == CONFIG_KIND_DURATION ? "ms" : "");
	return is_good(one);
}

static void
each_number_is_good_within_its_range_and_not_beyond(void)
{
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++) {
		const struct config_info *info = &config_infos[i];

		if (info->kind != CONFIG_KIND_INT && info->kind != CONFIG_KIND_SIZE &&
		    info->kind != CONFIG_KIND_DURATION)
			continue;
		CU_ASSERT_TRUE(is_number_good(info, info->min));
		CU_ASSERT_TRUE(is_number_good(info, info->max));
		CU_ASSERT_FALSE(is_number_good(info, info->min - 1));
		CU_ASSERT_FALSE(is_number_good(info, info->max + 1));
		CU_ASSERT_FALSE(is_number_good(info, INT64_MAX));
	}
}

static void
units_may_be_written_and_a_bare_number_has_that_of_the_table(void)
{
	CU_ASSERT_EQUAL_FATAL(
	    load(ENV("RATE_LIMIT_DURATION=2", "DB_TIMEOUT=250ms", "IDEMPOTENCY_TTL=7d",
		     "WEIR_CACHE_BYTES=2g", "CIRCUIT_BREAKER_TIMEOUT=1500",
		     "CIRCUIT_BREAKER_RESET_TIMEOUT=1m", "CIRCUIT_BREAKER_THRESHOLD=40%"),
		NULL),
	    ERR_OK);
	CU_ASSERT_EQUAL(config->rate_limit_duration_ms, 2000);
	CU_ASSERT_EQUAL(config->db_timeout_ms, 250);
	CU_ASSERT_EQUAL(config->idempotency_ttl_ms, 7 * 86400000LL);
	CU_ASSERT_EQUAL(config->cache_bytes, 2LL << 30);
	CU_ASSERT_EQUAL(config->circuit_breaker_timeout_ms, 1500);
	CU_ASSERT_EQUAL(config->circuit_breaker_reset_timeout_ms, 60000);
	CU_ASSERT_EQUAL(config->circuit_breaker_threshold_pct, 40);
	drop();
}

static void
an_empty_value_is_the_default_and_wins_like_any_other(void)
{
	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(
	    load(ENV("WEIR_THREADS=", "REDIS_URL="),
		write_file("weir.env", "WEIR_THREADS=9\nREDIS_URL=redis://cache:6379\n")),
	    ERR_OK);
	CU_ASSERT_EQUAL(config->threads, 16);
	drop();
}

static void
a_value_can_come_from_a_file(void)
{
	char file[PATH_BYTES + 128], url[PATH_BYTES + 64];

	fresh_dir();
	(void)snprintf(url, sizeof url, "sqlite:%s/secret.db", dir);
	(void)write_file("secret", url);
	CU_ASSERT_EQUAL_FATAL(
	    load(NO_ENV, write_file("weir.env", "DB_WRITE_URL_FILE=secret\n")), ERR_OK);
	CU_ASSERT_STRING_EQUAL(config->db_write_url, url);
	drop();
	(void)write_file("secret", "sqlite:/x.db\n"); /* an editor adds a line's end */
	(void)snprintf(file, sizeof file, "DB_WRITE_URL_FILE=%s", path_of("secret"));
	CU_ASSERT_EQUAL_FATAL(load(ENV(file), NULL), ERR_OK);
	CU_ASSERT_STRING_EQUAL(config->db_write_url, "sqlite:/x.db");
	drop();
	CU_ASSERT_EQUAL(load(ENV(file, "DB_WRITE_URL=sqlite:/y.db"), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(faults_with("DB_WRITE_URL", "DB_WRITE_URL_FILE", "both"), 1);
	drop();
	CU_ASSERT_EQUAL(load(ENV("DB_WRITE_URL_FILE=/no/such/file"), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(faults_with("DB_WRITE_URL_FILE", "/no/such/file", NULL), 1);
	drop();
}

static void
a_secret_is_shown_to_nobody(void)
{
	const struct config_info *info = config_find(SLICE("DB_WRITE_URL"));
	struct arena a;

	CU_ASSERT_EQUAL(load(ENV("DB_WRITE_URL=postgres://me:hunter2@db:x/x"), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(faults_with("hunter2", NULL, NULL), 0);
	CU_ASSERT_EQUAL(faults_with("DB_WRITE_URL", "\"postgres://***@db:x/x\"", "expected"), 1);
	CU_ASSERT_EQUAL(faults.errors, 1); /* DB_READ_URL, made from it, is not blamed too */
	drop();
	CU_ASSERT_EQUAL(load(ENV("REDIS_URL=redis://:hunter2@cache:6379/x"), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(faults_with("hunter2", NULL, NULL), 0);
	CU_ASSERT_EQUAL(faults_with("REDIS_URL", "redis://***@cache:6379/x", "expected"), 1);
	drop();
	arena_init(&a, 4096);
	CU_ASSERT_STRING_EQUAL(config_shown(info, "hunter2", &a), "***");
	CU_ASSERT_STRING_EQUAL(config_shown(info, "sqlite:/a.db", &a), "sqlite:/a.db");
	arena_free(&a);
}

static void
databases_are_of_one_kind_and_writes_go_to_one_place(void)
{
	CU_ASSERT_EQUAL(load(ENV("DB_WRITE_URL=postgres://me:x@p/db"), NULL), ERR_OK);
	CU_ASSERT_TRUE(config_on_postgresql(config));
	CU_ASSERT_STRING_EQUAL(config->db_read_url, "postgres://me:x@p/db");
	drop();
	CU_ASSERT_EQUAL(load(ENV("DB_WRITE_URL=postgres://me:x@p/db",
				 "DB_READ_URL=postgres://me:x@a/db,postgres://me:x@b/db"),
			    NULL),
	    ERR_OK);
	drop();
	CU_ASSERT_EQUAL(load(ENV("DB_READ_URL=postgres://me:hunter2@p/db"), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(faults_with("hunter2", NULL, NULL), 0);
	CU_ASSERT_EQUAL(faults_with("DB_READ_URL", "the same kind of database", NULL), 1);
	drop();
	CU_ASSERT_EQUAL(
	    load(ENV("DB_WRITE_URL=postgres://me:x@a/db,postgres://me:x@b/db"), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(faults_with("DB_WRITE_URL", "expected one server", NULL), 1);
	drop();
}

/* The value of ${name} in the environment of a child, or NULL. */
static const char *
among(char *const *env, const char *name)
{
	const size_t n = strlen(name);

	for (size_t i = 0; env[i] != NULL; i++)
		if (strncmp(env[i], name, n) == 0 && env[i][n] == '=')
			return env[i] + n + 1;
	return NULL;
}

static void
what_opentelemetry_is_told_is_read_by_its_own_rules(void)
{
	char **env;

	CU_ASSERT_EQUAL(load(ENV("OTEL_BSP_SCHEDULE_DELAY=soon", "OTEL_LOGS_EXPORTER=otlp",
				 "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318"),
			    NULL),
	    ERR_OK);
	CU_ASSERT_EQUAL(faults.errors, 0);
	CU_ASSERT_EQUAL(faults_with("OTEL_BSP_SCHEDULE_DELAY", "it is ignored", NULL), 1);
	CU_ASSERT_EQUAL(faults_with("OTEL_LOGS_EXPORTER", "has no effect", NULL), 1);
	CU_ASSERT_EQUAL(faults.count, 2);
	CU_ASSERT_TRUE(config->otel->traces.on);
	env = config_environment(config, ENV("OTEL_LOGS_EXPORTER=none"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(env);
	CU_ASSERT_STRING_EQUAL(among(env, "OTEL_LOGS_EXPORTER"), "otlp");
	free(env);
	drop();
}

static void
what_kafka_is_told_is_checked_by_its_own_library(void)
{
	fresh_dir();
	CU_ASSERT_EQUAL(load(ENV("KAFKA_BROKERS=a:9092,[::1]:9093", "WEIR_ACK=kafka",
				 "KAFKA_CONFIG_SECURITY_PROTOCOL=sasl_ssl",
				 "KAFKA_CONFIG_LINGER_MS=", "KAFKA_CONFIG_SASL_USERNAME=u"),
			    write_file("weir.env", "KAFKA_CONFIG_SASL_USERNAME=other\n")),
	    ERR_OK);
	CU_ASSERT_EQUAL(faults.count, 0);
	CU_ASSERT_EQUAL(config->ack, CONFIG_ACK_KAFKA);
	CU_ASSERT_STRING_EQUAL(config->kafka_topic, "api-mutations");
	CU_ASSERT_EQUAL_FATAL(config->kafka_setting_count, 2);
	CU_ASSERT_STRING_EQUAL(config->kafka_settings[0].name, "security.protocol");
	CU_ASSERT_STRING_EQUAL(config->kafka_settings[0].value, "sasl_ssl");
	CU_ASSERT_STRING_EQUAL(config->kafka_settings[1].value, "u");
	drop();
	CU_ASSERT_EQUAL(load(ENV("KAFKA_BROKERS=a", "KAFKA_TOPIC=a b", "KAFKA_CONFIG_ACKS=1",
				 "KAFKA_CONFIG_NO_SUCH=1", "KAFKA_CONFIG_LINGER_MS=soon"),
			    NULL),
	    ERR_INVALID);
	CU_ASSERT_EQUAL(faults.errors, 5);
	CU_ASSERT_EQUAL(faults_with("KAFKA_CONFIG_ACKS", "weir sets acks itself", NULL), 1);
	CU_ASSERT_EQUAL(faults_with("KAFKA_CONFIG_NO_SUCH", "no.such", NULL), 1);
	drop();
	CU_ASSERT_EQUAL(load(ENV("WEIR_ACK=kafka"), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(faults_with("WEIR_ACK", "KAFKA_BROKERS", NULL), 1);
	drop();
}

static void
a_password_for_kafka_comes_from_a_file_and_goes_to_the_children(void)
{
	char line[PATH_BYTES * 2];
	struct kafka_setting s;
	char **env;

	fresh_dir();
	(void)snprintf(line, sizeof line, "KAFKA_CONFIG_SASL_PASSWORD_FILE=%s\n",
	    write_file("secret", "hunter2\n"));
	CU_ASSERT_EQUAL_FATAL(load(NO_ENV, write_file("weir.env", line)), ERR_OK);
	CU_ASSERT_EQUAL_FATAL(config->kafka_setting_count, 1);
	s = config->kafka_settings[0];
	CU_ASSERT_STRING_EQUAL(s.name, "sasl.password");
	CU_ASSERT_STRING_EQUAL(s.value, "hunter2");
	env = config_environment(config, NO_ENV);
	CU_ASSERT_PTR_NOT_NULL_FATAL(env);
	CU_ASSERT_STRING_EQUAL(among(env, "KAFKA_CONFIG_SASL_PASSWORD"), "hunter2");
	free(env);
	drop();
}

static void
an_unknown_name_of_ours_suggests_the_nearest(void)
{
	CU_ASSERT_EQUAL(load(ENV("WEIR_WORKER=2", "WEIR_FROBNICATION=1"), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(faults_with("WEIR_WORKER ", "did you mean WEIR_WORKERS?", NULL), 1);
	CU_ASSERT_EQUAL(faults_with("WEIR_FROBNICATION", "not a setting", NULL), 1);
	drop();
	fresh_dir();
	CU_ASSERT_EQUAL(load(ENV("RATE_LIMIT_POINT=1"),
			    write_file("weir.env", "RATE_LIMIT_DURATIONS=1\nHOME_PAGE=x\n")),
	    ERR_OK);
	CU_ASSERT_EQUAL(faults.count, 1); /* in .env a near miss was meant for us */
	CU_ASSERT_EQUAL(faults_with("RATE_LIMIT_DURATIONS", "RATE_LIMIT_DURATION?", NULL), 1);
	drop();
}

static void
listening_beyond_loopback_needs_to_say_who_may_connect(void)
{
	static const char *const inside[] = { "WEIR_LISTEN=127.0.0.1:9000",
		"WEIR_LISTEN=[::1]:9000", "WEIR_LISTEN=localhost:9000",
		"WEIR_LISTEN=[::ffff:127.0.0.1]:9000", "WEIR_ADMIN_LISTEN=127.8.8.8:1" };
	static const char *const outside[] = { "WEIR_LISTEN=0.0.0.0:9000", "WEIR_LISTEN=[::]:9000",
		"WEIR_LISTEN=10.0.0.1:9000", "WEIR_LISTEN=example.org:9000",
		"WEIR_LISTEN=[::ffff:10.0.0.1]:9000", "WEIR_ADMIN_LISTEN=0.0.0.0:1" };

	for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
		CU_ASSERT_TRUE(is_good(inside[i]));
	for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
		CU_ASSERT_EQUAL(load(ENV(outside[i]), NULL), ERR_INVALID);
		CU_ASSERT_EQUAL(faults_with("WEIR_LISTEN_ALLOW", NULL, NULL), 1);
		drop();
		CU_ASSERT_EQUAL(
		    load(ENV(outside[i], "WEIR_LISTEN_ALLOW=10.0.0.0/8"), NULL), ERR_OK);
		drop();
	}
}

static void
an_address_is_a_path_that_fits_or_a_host_with_a_port(void)
{
	char path[256] = "WEIR_LISTEN=unix:/";
	const size_t start = strlen("WEIR_LISTEN=unix:");

	memset(path + start + 1, 'x', 106);
	CU_ASSERT_TRUE(is_good(path)); /* 107 bytes */
	path[start + 107] = 'x';
	CU_ASSERT_FALSE(is_good(path));
	CU_ASSERT_FALSE(is_good("WEIR_LISTEN=unix:"));
	CU_ASSERT_FALSE(is_good("WEIR_LISTEN=localhost"));
	CU_ASSERT_FALSE(is_good("WEIR_LISTEN=localhost:"));
	CU_ASSERT_FALSE(is_good("WEIR_LISTEN=:9000"));
	CU_ASSERT_FALSE(is_good("WEIR_LISTEN=::1:9000")); /* which colon? */
	CU_ASSERT_FALSE(is_good("WEIR_LISTEN=127.0.0.1:99999"));
	CU_ASSERT_FALSE(is_good("WEIR_LISTEN=127.0.0.1:http"));
	CU_ASSERT_EQUAL(load(ENV("WEIR_LISTEN=127.0.0.1:9", "WEIR_ADMIN_LISTEN=127.0.0.1:9"), NULL),
	    ERR_INVALID);
	drop();
}

static void
a_base_path_loses_its_last_slash(void)
{
	CU_ASSERT_EQUAL_FATAL(load(ENV("WEIR_BASE_PATH=/app/v2/"), NULL), ERR_OK);
	CU_ASSERT_STRING_EQUAL(config->base_path, "/app/v2");
	drop();
	CU_ASSERT_EQUAL_FATAL(load(ENV("WEIR_BASE_PATH=/"), NULL), ERR_OK);
	CU_ASSERT_STRING_EQUAL(config->base_path, "");
	drop();
	CU_ASSERT_FALSE(is_good("WEIR_BASE_PATH=app"));
	CU_ASSERT_FALSE(is_good("WEIR_BASE_PATH=/a//b"));
	CU_ASSERT_FALSE(is_good("WEIR_BASE_PATH=/a?b"));
}

static void
a_sliding_window_has_a_smaller_bound(void)
{
	CU_ASSERT_EQUAL(
	    load(ENV("RATE_LIMIT_ALGORITHM=sliding-window", "RATE_LIMIT_POINTS=1048576"), NULL),
	    ERR_INVALID);
	CU_ASSERT_EQUAL(faults_with("RATE_LIMIT_POINTS", "1048575", "sliding-window"), 1);
	drop();
	CU_ASSERT_EQUAL_FATAL(
	    load(ENV("RATE_LIMIT_ALGORITHM=sliding-window", "RATE_LIMIT_POINTS=1048575"), NULL),
	    ERR_OK);
	CU_ASSERT_EQUAL(config->rate_limit_algorithm, LIMIT_SLIDING_WINDOW);
	drop();
}

static void
a_child_has_the_settings_of_its_supervisor_whatever_the_env_file_says_by_now(void)
{
	static const char *const base[] = { "PATH=/bin", "WEIR_WORKERS=9", "LOG_FORMAT_FILE=/x",
		"KAFKA_CONFIG_ACKS=0", "NOTIFY_SOCKET=/x", NULL };
	struct config *parent;
	char **env;

	fresh_dir();
	CU_ASSERT_EQUAL_FATAL(
	    load(NO_ENV, write_file("weir.env", "WEIR_STATE_DIR=state\nWEIR_WORKERS=3\n"
						"LOG_FORMAT=text\nKAFKA_TOPIC=t\n")),
	    ERR_OK);
	parent = config;
	config = NULL;
	fault_free(&faults);
	env = config_environment(parent, base);
	CU_ASSERT_PTR_NOT_NULL_FATAL(env);
	CU_ASSERT_STRING_EQUAL(env[0], "PATH=/bin");
	CU_ASSERT_PTR_NULL(among(env, "KAFKA_CONFIG_ACKS"));
	CU_ASSERT_PTR_NULL(among(env, "LOG_FORMAT_FILE"));
	CU_ASSERT_PTR_NULL(among(env, "NOTIFY_SOCKET"));
	CU_ASSERT_STRING_EQUAL(among(env, "WEIR_LIFELINE_FD"), "3");
	(void)write_file("weir.env", "this is broken\n");
	CU_ASSERT_EQUAL_FATAL(load((const char *const *)env, path_of("weir.env")), ERR_OK);
	CU_ASSERT_EQUAL(faults.count, 0); /* and says nothing twice */
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++)
		CU_ASSERT_STRING_EQUAL(config->texts[i].value, parent->texts[i].value);
	CU_ASSERT_EQUAL(config->workers, 3);
	config_free(&parent);
	free(env);
	drop();
}

static void
every_setting_has_words_for_the_documentation(void)
{
	struct arena a;

	arena_init(&a, 64 * 1024);
	for (size_t i = 0; i < CONFIG_KEY__COUNT; i++) {
		const char *help = config_infos[i].help;

		CU_ASSERT_TRUE(strlen(help) > 10 && help[strlen(help) - 1] == '.');
		CU_ASSERT_PTR_NOT_NULL(config_expected(&config_infos[i], &a));
		CU_ASSERT_PTR_EQUAL(config_find(slice_of(config_infos[i].name)), &config_infos[i]);
	}
	arena_free(&a);
}

UNIT_SUITE(config, TEST(with_nothing_set_it_is_the_embedded_default),
    TEST(command_line_beats_environment_beats_env_file_beats_default),
    TEST(an_env_file_in_the_working_directory_is_read_unasked),
    TEST(relative_paths_count_from_the_env_file_and_typed_ones_from_here),
    TEST(all_faults_are_said_at_once_with_name_value_and_expectation),
    TEST(a_fault_in_an_env_file_has_its_line), TEST(a_bad_env_file_is_refused),
    TEST(each_number_is_good_within_its_range_and_not_beyond),
    TEST(units_may_be_written_and_a_bare_number_has_that_of_the_table),
    TEST(an_empty_value_is_the_default_and_wins_like_any_other), TEST(a_value_can_come_from_a_file),
    TEST(a_secret_is_shown_to_nobody), TEST(databases_are_of_one_kind_and_writes_go_to_one_place),
    TEST(what_opentelemetry_is_told_is_read_by_its_own_rules),
    TEST(what_kafka_is_told_is_checked_by_its_own_library),
    TEST(a_password_for_kafka_comes_from_a_file_and_goes_to_the_children),
    TEST(an_unknown_name_of_ours_suggests_the_nearest),
    TEST(listening_beyond_loopback_needs_to_say_who_may_connect),
    TEST(an_address_is_a_path_that_fits_or_a_host_with_a_port),
    TEST(a_base_path_loses_its_last_slash), TEST(a_sliding_window_has_a_smaller_bound),
    TEST(a_child_has_the_settings_of_its_supervisor_whatever_the_env_file_says_by_now),
    TEST(every_setting_has_words_for_the_documentation));
