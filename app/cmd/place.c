/*
 * The consumer's place, for commands that write to the database.
 */
#include "cmd/place.h"

#include <stdio.h>
#include <unistd.h>

#include "base/fault.h"
#include "cmd/begin.h"
#include "runtime/state_dir.h"

enum { WAIT_MS = 30000 };

enum exit_code
place_take(const struct config *c, struct place *out)
{
	struct fault_list faults;
	enum err rc;

	*out = (struct place){ -1, CONSUMER_PLACE_NONE };
	fault_init(&faults);
	rc = state_dir_open(c->state_dir, &faults, &out->state_dir_fd);
	if (rc == ERR_OK) {
		rc = consumer_place_take(out->state_dir_fd, WAIT_MS, &out->locks);
		if (rc != ERR_OK)
			fault_add(&faults, c->state_dir, 0,
			    "the consumer does not step aside (%s): is a batch taking long?",
			    err_name(rc));
	}
	if (rc != ERR_OK)
		return begin_failed(rc, &faults);
	fault_free(&faults);
	return EXIT_CODE_DONE;
}

void
place_give(struct place *p)
{
	consumer_place_give(&p->locks);
	if (p->state_dir_fd != -1)
		(void)close(p->state_dir_fd);
	p->state_dir_fd = -1;
}
