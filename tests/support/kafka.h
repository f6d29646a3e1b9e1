#ifndef TESTS_SUPPORT_KAFKA_H
#define TESTS_SUPPORT_KAFKA_H

#include <string.h>

#include "tests/support/server.h"

/*
 * A real Kafka of one node for the tests of one program, started when first asked for.  It makes topics by itself.
 */

/* One for all files of the program that include this. */
__attribute__((weak)) struct test_server kafka_server;

static inline void
kafka_stop(void)
{
	test_server_stop(&kafka_server);
}

/* HOST:PORT */
static inline const char *
kafka_brokers(void)
{
	if (kafka_server.pid == 0) {
		(void)test_server_start("tests/support/kafka.py", &kafka_server);
		(void)atexit(kafka_stop);
		kafka_server.said[strcspn(kafka_server.said, "\n")] = '\0';
	}
	return kafka_server.said;
}

#endif
