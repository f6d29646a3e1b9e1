#ifndef CLIENT_KAFKA_ROOM_H
#define CLIENT_KAFKA_ROOM_H

#include <librdkafka/rdkafka.h>

#include "client/kafka.h"

/*
 * What kafka.c (settings, handles), kafka_producer.c and kafka_consumer.c know of librdkafka together; nobody else
 * includes its header.
 */
enum err kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value);
/* What every handle has, then what its ${kind} has, then the user's own settings. */
enum err kafka_configure(const struct kafka_options *o, const struct kafka_setting *kind,
    size_t kind_count, rd_kafka_conf_t *conf);
/* Takes ${conf}; ${configured}: how that went. */
enum err kafka_make(
    rd_kafka_type_t type, rd_kafka_conf_t *conf, enum err configured, rd_kafka_t **out);

enum err kafka_meaning(rd_kafka_resp_err_t code);
void kafka_say_failed(const char *event, const char *topic, rd_kafka_resp_err_t code);
int kafka_poll_ms(int64_t ms); /* as librdkafka takes it */

#endif
