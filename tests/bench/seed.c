/*
 * Puts made-up idempotency keys into the spool of a state folder, before weir starts on it: seed COUNT.
 * Settings come from the environment, as weir's do.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "runtime/config.h"
#include "runtime/runtime.h"
#include "service/queue.h"
#include "telemetry/scoreboard.h"

static enum err
seed(const struct config *c, uint64_t count, struct fault_list *faults)
{
	struct runtime rt;
	enum err rc;

	rc = runtime_open(c, NULL, RUNTIME_SEGMENT | RUNTIME_QUEUE, MEMBER_NONE, faults, &rt);
	if (rc != ERR_OK)
		return rc;
	rc = queue_seed_keys(rt.queue, count, clock_wall_us());
	runtime_close(&rt);
	return rc;
}

int
main(int argc, char *argv[])
{
	const uint64_t count = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
	const struct config_input in = { .environment = (const char *const *)environ };
	struct config *config = NULL;
	struct fault_list faults;
	enum err rc;

	if (count == 0) {
		(void)fprintf(stderr, "usage: seed COUNT\n");
		return 2;
	}
	fault_init(&faults);
	rc = config_load(&in, &faults, &config);
	if (rc == ERR_OK)
		rc = seed(config, count, &faults);
	fault_print(&faults, STDERR_FILENO);
	fault_free(&faults);
	config_free(&config);
	(void)fprintf(stderr, "seed: %" PRIu64 " keys: %s\n", count, err_name(rc));
	return rc == ERR_OK ? 0 : 1;
}
