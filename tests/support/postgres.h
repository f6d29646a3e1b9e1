#ifndef TESTS_SUPPORT_POSTGRES_H
#define TESTS_SUPPORT_POSTGRES_H

#include <stdint.h>

#include "tests/support/server.h"

/*
 * A real PostgreSQL, its replica and a PgBouncer for the tests of one program, started when first asked for: user weir, password
 * weir-secret, database weir, on 127.0.0.1.
 */
struct postgres_ports {
	uint16_t direct, bouncer, replica; /* 0: they could not be started */
};

/* One for all files of the program that include this. */
__attribute__((weak)) struct test_server postgres_server;
__attribute__((weak)) struct postgres_ports postgres_ports;

static inline void
postgres_stop(void)
{
	test_server_stop(&postgres_server);
}

static inline struct postgres_ports
postgres_servers(void)
{
	unsigned direct = 0, bouncer = 0, replica = 0;
	const char *said;

	if (postgres_ports.direct != 0)
		return postgres_ports;
	said = test_server_start("tests/support/postgres.py", &postgres_server);
	(void)atexit(postgres_stop);
	CU_ASSERT_EQUAL_FATAL(sscanf(said, "%u %u %u", &direct, &bouncer, &replica), 3);
	postgres_ports =
	    (struct postgres_ports){ (uint16_t)direct, (uint16_t)bouncer, (uint16_t)replica };
	return postgres_ports;
}

#endif
