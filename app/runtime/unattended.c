/*
 * Trying to work, again and again.
 */
#include "runtime/unattended.h"

#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "runtime/closed.h"
#include "runtime/config.h"
#include "runtime/edits.h"
#include "runtime/exposure.h"
#include "runtime/worker.h"
#include "service/web_root.h"

enum { LOOK_AGAIN_MS = 3000 };

struct unattended {
	const struct unattended_options *o;
	uint64_t said; /* hash of the faults that the log has; 0: none */
};

static uint64_t
hash_of(const struct fault_list *faults)
{
	uint64_t h = 1;

	for (size_t i = 0; i < faults->count; i++) {
		h = hash64(h, faults->items[i].file, strlen(faults->items[i].file));
		h = hash64(h ^ faults->items[i].line, faults->items[i].text,
		    strlen(faults->items[i].text));
	}
	return h;
}

static void
say(struct unattended *u, const struct fault_list *faults)
{
	const uint64_t now = hash_of(faults);

	if (now == u->said)
		return;
	u->said = now;
	for (size_t i = 0; i < faults->count; i++)
		if (!faults->items[i].warning)
			log_error("cannot_work", LOG_STR("file", faults->items[i].file),
			    LOG_INT("line", faults->items[i].line),
			    LOG_STR("reason", faults->items[i].text),
			    LOG_STR("so", "every request is answered 503 until it is mended"));
	if (faults->errors == 0)
		log_error("cannot_work",
		    LOG_STR("so", "every request is answered 503, tried again in 3 s"));
}

/* With endpoint files that are good, as a supervisor would hand them over. */
static enum worker_end
work(struct unattended *u, struct config *c, struct edits *edits, struct fault_list *faults)
{
	struct worker_options o = { .config = c,
		.handlers = u->o->handlers,
		.listen_fd = u->o->listen_fd,
		.supervisor_fd = -1,
		.edits = edits,
		.faults = faults };
	enum worker_end end = WORKER_FAILED;

	if (handler_files_store(&edits->good, &c->files_fd) == ERR_OK &&
	    exposure_open(c, u->o->env_file, &o.web_root) == ERR_OK)
		end = worker_run(&o);
	web_root_close(&o.web_root);
	if (c->files_fd != -1)
		(void)close(c->files_fd);
	return end;
}

/* One try, which may last for months. */
static enum worker_end
try(struct unattended *u)
{
	struct edits edits = { .config = NULL };
	enum worker_end end = WORKER_FAILED;
	struct config *c = NULL;
	struct fault_list faults;

	fault_init(&faults);
	if (u->o->load(u->o->ctx, &faults, &c) == ERR_OK &&
	    edits_open(c, u->o->handlers, &faults, &edits) == ERR_OK)
		end = work(u, c, &edits, &faults);
	if (end == WORKER_FAILED || end == WORKER_MISCONFIGURED)
		say(u, &faults);
	else
		u->said = 0;
	edits_close(&edits);
	config_free(&c);
	fault_free(&faults);
	return end;
}

void
unattended_run(const struct unattended_options *o)
{
	struct unattended u = { .o = o };

	for (;;) {
		switch (try(&u)) {
		case WORKER_TOLD:
			return;
		case WORKER_AGAIN:
			break;
		case WORKER_FAILED:
		case WORKER_MISCONFIGURED:
			if (!closed_for(o->listen_fd, LOOK_AGAIN_MS))
				return;
			break;
		}
	}
}
