/*
 * librdkafka: settings, handles, and what its errors mean.
 *
 * It brings its own threads, retries and reconnects, so a stalled broker blocks none of our calls; what
 * is left to do here is to choose the settings that weir's promises rest on, to translate, and to
 * keep clear of what is broken in 2.0.2: messages are polled one by one, the assignor is `range`, and only what
 * was paused is resumed.
 */
#include "client/kafka.h"

#include <netdb.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "client/kafka_room.h"
#include "client/lookup.h"

enum {
	WHY_BYTES = 512,
	LEVEL_WARNING = 4, /* of syslog */
	LOOKUP_MS = 500,   /* of a name; closing a handle waits for it */
};

static const char *const reserved[] = {
	"bootstrap.servers",
	"metadata.broker.list",
	"client.id",
	"group.id",
	"group.instance.id",
	"enable.idempotence",
	"enable.gapless.guarantee",
	"transactional.id",
	"acks",
	"request.required.acks",
	"message.timeout.ms",
	"delivery.timeout.ms",
	"max.in.flight",
	"max.in.flight.requests.per.connection",
	"retries",
	"message.send.max.retries",
	"queuing.strategy",
	"partitioner",
	"enable.auto.commit",
	"auto.commit.enable",
	"enable.auto.offset.store",
	"enable.partition.eof",
	"auto.offset.reset",
	"partition.assignment.strategy",
	"plugin.library.paths",
};

enum err
kafka_check_setting(const struct kafka_setting *s, char *why_out, size_t bytes)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	enum err rc = ERR_OK;

	for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
		if (strcmp(reserved[i], s->name) == 0) {
			(void)snprintf(why_out, bytes, "weir sets %s itself", s->name);
			rc = ERR_INVALID;
		}
	if (rc == ERR_OK &&
	    rd_kafka_conf_set(conf, s->name, s->value, why_out, bytes) != RD_KAFKA_CONF_OK)
		rc = ERR_INVALID;
	rd_kafka_conf_destroy(conf);
	return rc;
}

/* Of every handle; the user's own settings may change them. */
static const struct kafka_setting usual[] = {
	{ "socket.timeout.ms", "10000" },
	{ "request.timeout.ms", "10000" },
	{ "reconnect.backoff.max.ms", "2000" },
	{ "topic.metadata.refresh.interval.ms", "10000" },
	{ "allow.auto.create.topics", "true" },
};

enum err
kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char why[WHY_BYTES];

	if (value == NULL ||
	    rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
		return ERR_OK;
	log_error("kafka_setting_refused", LOG_STR("name", name), LOG_STR("reason", why));
	return ERR_INVALID;
}

static enum err
set_all(rd_kafka_conf_t *conf, const struct kafka_setting *settings, size_t count)
{
	enum err rc = ERR_OK;

	for (size_t i = 0; i < count && rc == ERR_OK; i++)
		rc = kafka_set(conf, settings[i].name, settings[i].value);
	return rc;
}

/* What librdkafka says of itself: what it tries again, and why.  Hints about settings of the other kind of
 * handle are no news, for one list of settings serves both. */
static void
say(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
	static struct log_gate gate;
	uint64_t held;

	(void)handle;
	if (level > LEVEL_WARNING || strcmp(facility, "CONFWARN") == 0)
		return;
	if (log_gate_open(&gate, clock_mono_ms(), &held))
		log_warn("kafka_client", LOG_STR("facility", facility), LOG_STR("reason", text),
		    LOG_INT("held_back", held));
}

void
kafka_say_failed(const char *event, const char *topic, rd_kafka_resp_err_t code)
{
	static struct log_gate gate;
	uint64_t held;

	if (log_gate_open(&gate, clock_mono_ms(), &held))
		log_warn(event, LOG_STR("topic", topic), LOG_STR("reason", rd_kafka_err2str(code)),
		    LOG_INT("held_back", held));
}

/* Without it librdkafka would take such errors for what ends the poll. */
static void
failed(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
	(void)opaque;
	say(handle, LEVEL_WARNING, rd_kafka_err2name((rd_kafka_resp_err_t)code), reason);
}

/* A broker's thread that hangs in a look-up would hold up the end of its handle, and so of the process. */
static int
resolve(const char *node, const char *service, const struct addrinfo *hints,
    struct addrinfo **found, void *opaque)
{
	(void)opaque;
	if (node != NULL)
		return lookup_address(node, service, hints, LOOKUP_MS, found);
	freeaddrinfo(*found);
	return 0;
}

enum err
kafka_configure(const struct kafka_options *o, const struct kafka_setting *kind, size_t kind_count,
    rd_kafka_conf_t *conf)
{
	enum err rc = set_all(conf, usual, sizeof usual / sizeof *usual);

	rd_kafka_conf_set_log_cb(conf, say);
	rd_kafka_conf_set_error_cb(conf, failed);
	rd_kafka_conf_set_resolve_cb(conf, resolve);
	if (rc == ERR_OK)
		rc = set_all(conf, kind, kind_count);
	if (rc == ERR_OK)
		rc = set_all(conf, o->settings, o->setting_count);
	if (rc == ERR_OK)
		rc = kafka_set(conf, "bootstrap.servers", o->brokers);
	if (rc == ERR_OK)
		rc = kafka_set(conf, "client.id", o->client_id);
	return rc;
}

enum err
kafka_make(rd_kafka_type_t type, rd_kafka_conf_t *conf, enum err configured, rd_kafka_t **out)
{
	char why[WHY_BYTES];

	*out = NULL;
	if (configured == ERR_OK) {
		*out = rd_kafka_new(type, conf, why, sizeof why);
		if (*out != NULL)
			return ERR_OK; /* which has taken ${conf} */
		log_error("kafka_open_failed", LOG_STR("reason", why));
	}
	rd_kafka_conf_destroy(conf);
	return ERR_INVALID;
}

enum err
kafka_meaning(rd_kafka_resp_err_t code)
{
	switch ((int)code) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		return ERR_OK;
	case RD_KAFKA_RESP_ERR__QUEUE_FULL:
		return ERR_OVERLOADED;
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
		return ERR_TOO_LARGE;
	case RD_KAFKA_RESP_ERR__TIMED_OUT:
	case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
		return ERR_TIMEOUT;
	default:
		return ERR_UNAVAILABLE;
	}
}

int
kafka_poll_ms(int64_t ms)
{
	return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}
