/*
 * Reloading: what is new is read and checked here, and becomes a generation; the roll does the rest.
 */
#include "runtime/reload.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "runtime/config.h"

enum { DESCRIPTORS_ABOVE = 10 }; /* out of the way of those that a child finds */

/* What other processes, or the front server, already stand on. */
static const enum config_key fixed[] = { CONFIG_KEY_state_dir, CONFIG_KEY_listen,
	CONFIG_KEY_listen_mode, CONFIG_KEY_listen_group, CONFIG_KEY_admin_listen, CONFIG_KEY_shm,
	CONFIG_KEY_cache_bytes, CONFIG_KEY_spool_bytes };

const struct config *
reload_config(const struct reload *r)
{
	return r->config != NULL ? r->config : r->o.config;
}

const struct generation *
reload_generation(const struct reload *r)
{
	return &r->generations[r->current];
}

bool
reload_is_going_on(const struct reload *r)
{
	return r->roll.state != ROLL_IDLE;
}

static void
drop_generation(struct reload *r, unsigned i)
{
	free(r->environments[i]);
	r->environments[i] = NULL;
	if (r->generations[i].files_fd != -1)
		(void)close(r->generations[i].files_fd);
	r->generations[i].files_fd = -1;
}

/* Makes generation ${i} of ${c}, and of what is on ${files_fd}. */
static enum err
make_generation(
    struct reload *r, unsigned i, const struct config *c, const char *program, int files_fd)
{
	int fd = -1;

	drop_generation(r, i);
	r->environments[i] = config_environment(c, (const char *const *)environ);
	if (files_fd != -1)
		fd = fcntl(files_fd, F_DUPFD_CLOEXEC, DESCRIPTORS_ABOVE);
	r->generations[i] = (struct generation){ program, r->environments[i], fd };
	return r->environments[i] == NULL || (files_fd != -1 && fd == -1) ? ERR_NOMEM : ERR_OK;
}

enum err
reload_open(const struct reload_options *o, struct reload *out)
{
	*out =
	    (struct reload){ .o = *o, .generations = { { .files_fd = -1 }, { .files_fd = -1 } } };
	return make_generation(out, 0, o->config, o->program, o->files_fd);
}

void
reload_close(struct reload *r)
{
	if (r->o.config == NULL)
		return;
	for (unsigned i = 0; i < 2; i++)
		drop_generation(r, i);
	config_free(&r->config);
	config_free(&r->next_config);
	*r = (struct reload){ .current = 0 };
}

/* Redis may come and go, but the segment has room for its leases or has not. */
static void
check_fixed(const struct config *was, const struct config *is, struct fault_list *faults)
{
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
		if (strcmp(was->texts[fixed[i]].value, is->texts[fixed[i]].value) != 0)
			fault_add(faults, config_infos[fixed[i]].name, 0,
			    "cannot be changed by a reload, expected a restart");
	if ((was->redis_url == NULL) != (is->redis_url == NULL))
		fault_add(faults, "REDIS_URL", 0,
		    "can be changed by a reload, but not set or unset, expected a restart");
}

static enum err
read_anew(struct reload *r, struct fault_list *faults, int *files_fd_out)
{
	enum err rc = ERR_NOT_FOUND;

	config_free(&r->next_config);
	if (r->o.load != NULL)
		rc = r->o.load(r->o.ctx, faults, &r->next_config, files_fd_out);
	if (rc == ERR_OK)
		check_fixed(r->o.config, r->next_config, faults);
	return rc == ERR_OK && faults->errors > 0 ? ERR_INVALID : rc;
}

static void
refuse(struct reload *r, struct fault_list *faults, enum err rc)
{
	fault_print(faults, STDERR_FILENO);
	log_error("reload_refused", LOG_ERR("error", rc), LOG_INT("faults", faults->errors),
	    LOG_STR("then", "everything stays as it was"));
	config_free(&r->next_config);
}

void
reload_begin(struct reload *r, struct pool *p, const char *program, int64_t now_ms)
{
	const unsigned next = 1 - r->current;
	struct fault_list faults;
	int files_fd = -1;
	enum err rc;

	if (reload_is_going_on(r)) {
		r->again = true;
		return;
	}
	fault_init(&faults);
	rc = read_anew(r, &faults, &files_fd);
	if (rc == ERR_OK)
		rc = make_generation(
		    r, next, r->next_config, program != NULL ? program : r->o.program, files_fd);
	if (files_fd != -1)
		(void)close(files_fd);
	if (rc != ERR_OK) {
		refuse(r, &faults, rc);
	} else {
		r->upgrades = program != NULL;
		log_info("reload_begins", LOG_STR("program", r->generations[next].program),
		    LOG_INT("workers", r->next_config->workers));
		roll_begin(&r->roll, p, &r->generations[r->current], &r->generations[next],
		    (size_t)r->next_config->workers, now_ms);
	}
	fault_free(&faults);
}

static void
settle(struct reload *r)
{
	config_free(&r->config);
	r->config = r->next_config;
	r->next_config = NULL;
	r->current = 1 - r->current;
	log_info("reloaded", LOG_STR("program", reload_generation(r)->program),
	    LOG_INT("workers", r->config->workers));
}

enum roll_result
reload_step(struct reload *r, struct pool *p, const struct pool_board *b, int64_t now_ms)
{
	const enum roll_result result = roll_step(&r->roll, p, b, now_ms);

	if (result == ROLL_GOES_ON)
		return result;
	if (result == ROLL_DONE) {
		settle(r);
	} else {
		log_error("reload_rolled_back", LOG_STR("why", r->roll.why),
		    LOG_STR("then", "everything stays as it was"));
		config_free(&r->next_config);
	}
	if (r->again) {
		r->again = false;
		reload_begin(r, p, NULL, now_ms);
	}
	return result;
}
