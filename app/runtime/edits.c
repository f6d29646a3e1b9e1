/*
 * Endpoint files that change under a worker without a supervisor.
 */
#include "runtime/edits.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "runtime/config.h"
#include "runtime/runtime.h"
#include "service/catalog.h"

#define KEPT_NAME "endpoints.good"

static void
say(const struct fault_list *faults, const char *so)
{
	for (size_t i = 0; i < faults->count; i++)
		if (!faults->items[i].warning)
			log_error("endpoint_file_broken", LOG_STR("file", faults->items[i].file),
			    LOG_INT("line", faults->items[i].line),
			    LOG_STR("reason", faults->items[i].text), LOG_STR("so", so));
}

/* What has never worked is not begun by half: who has no old versions at all hears of every fault. */
static bool
is_first_start(const struct handler_files *old)
{
	return old->count == 0;
}

/* One try; true: another one is worth it, for some files were put back. */
static bool
try(struct edits *e, struct handler_files *fresh, const struct handler_files *old,
    struct fault_list *faults, const struct catalog **out)
{
	size_t changed = 0;

	if (runtime_catalog(e->config, e->handlers, fresh, faults, out) == ERR_OK)
		return false;
	return !is_first_start(old) &&
	       handler_files_put_back(fresh, old, faults, &changed) == ERR_OK && changed > 0;
}

/*
 * The catalog of what is in the folders, each file as it is or as it was in ${old}.  NULL: the faults say why; on success the list
 * is as it was.
 */
static const struct catalog *
load(struct edits *e, const struct handler_files *old, struct fault_list *faults,
    struct handler_files *fresh)
{
	const struct catalog *c = NULL;
	struct fault_list f;
	size_t changed;
	bool again = true;

	fault_init(&f);
	if (handler_files_read(e->config->handlers, &f, fresh) != ERR_OK ||
	    handler_files_put_back(fresh, old, &f, &changed) != ERR_OK)
		again = false;
	else if (f.errors > 0 && changed == 0)
		again = false; /* a folder is away: nothing can be said of its files */
	say(&f, "it counts as it last was good");
	while (again) {
		fault_free(&f);
		fault_init(&f);
		again = try(e, fresh, old, &f, &c);
		if (c == NULL && again)
			say(&f, "it counts as it last was good");
	}
	for (size_t i = 0; c == NULL && i < f.count; i++)
		fault_add(faults, f.items[i].file, f.items[i].line, "%s", f.items[i].text);
	fault_free(&f);
	return c;
}

static void
load_kept(const struct config *c, struct handler_files *out)
{
	char path[PATH_MAX];
	int fd;

	*out = (struct handler_files){ .list = NULL };
	(void)snprintf(path, sizeof path, "%s/" KEPT_NAME, c->state_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return;
	if (handler_files_load(fd, out) != ERR_OK)
		*out = (struct handler_files){ .list = NULL }; /* torn by a full disk */
	(void)close(fd);
}

enum err
edits_open(const struct config *c, const struct handler_set *handlers, struct fault_list *faults,
    struct edits *e)
{
	const struct catalog *catalog;
	struct handler_files kept;

	*e = (struct edits){
		.config = c, .handlers = handlers, .stamp = handler_files_stamp(c->handlers)
	};
	load_kept(c, &kept);
	catalog = load(e, &kept, faults, &e->good);
	e->kept = handler_files_equal(&kept, &e->good);
	handler_files_free(&kept);
	if (catalog == NULL) {
		edits_close(e);
		return faults->errors > 0 ? ERR_INVALID : ERR_NOMEM;
	}
	catalog_release(&catalog); /* it is made again in its place, by runtime_open() */
	return ERR_OK;
}

void
edits_close(struct edits *e)
{
	handler_files_free(&e->good);
}

const struct catalog *
edits_look(struct edits *e)
{
	const uint64_t stamp = handler_files_stamp(e->config->handlers);
	const struct catalog *catalog;
	struct handler_files fresh = { .list = NULL };
	struct fault_list faults;

	if (stamp == e->stamp)
		return NULL;
	e->stamp = stamp;
	fault_init(&faults);
	catalog = load(e, &e->good, &faults, &fresh);
	if (catalog != NULL) {
		handler_files_free(&e->good);
		e->good = fresh;
		e->kept = false;
		log_info("endpoint_files_read_again", LOG_INT("endpoints", catalog->count));
	} else {
		say(&faults, "all endpoints stay as they are");
		handler_files_free(&fresh);
	}
	fault_free(&faults);
	return catalog;
}

/* By a name of our own process, so that two who do it at once do not write into one file. */
void
edits_keep(struct edits *e, int state_dir_fd)
{
	char temp[sizeof KEPT_NAME + 16];
	bool whole;
	int fd;

	if (e->kept)
		return;
	e->kept = true; /* or tried: a full disk is not asked again each second */
	(void)snprintf(temp, sizeof temp, KEPT_NAME ".%d", (int)getpid());
	fd =
	    openat(state_dir_fd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	whole = fd != -1 && handler_files_write(&e->good, fd) == ERR_OK;
	if (fd != -1)
		(void)close(fd);
	if (!whole || renameat(state_dir_fd, temp, state_dir_fd, KEPT_NAME) == -1) {
		log_warn("endpoint_files_not_kept", LOG_STR("name", KEPT_NAME));
		(void)unlinkat(state_dir_fd, temp, 0);
	}
}

void
edits_keep_at(struct edits *e, const char *state_dir)
{
	int fd;

	if (e->kept)
		return;
	fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return;
	edits_keep(e, fd);
	(void)close(fd);
}
