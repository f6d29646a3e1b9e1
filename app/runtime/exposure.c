/*
 * Which of our files must not be seen through a front server: the settings, told to service/web_root.h.
 */
#include "runtime/exposure.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/str.h"
#include "runtime/config.h"
#include "service/web_root.h"

enum { ARENA_BYTES = 256 * 1024 };

struct parts {
	struct web_root_part list[WEB_ROOT_PARTS_MAX];
	size_t count;
	bool full;
};

static void
add(struct parts *p, const char *path, const char *what)
{
	if (path == NULL)
		return;
	if (p->count == WEB_ROOT_PARTS_MAX) {
		p->full = true;
		return;
	}
	p->list[p->count++] = (struct web_root_part){ path, what };
}

static void
add_folders(struct parts *p, const char *folders, struct arena *a)
{
	struct slice rest = slice_of(folders);

	while (rest.ptr != NULL) {
		const struct slice folder = slice_cut(&rest, ':');

		if (folder.len > 0)
			add(p, arena_copy(a, folder), "a folder of endpoint files");
	}
}

static const char *
embedded(const char *url)
{
	static const char scheme[] = "sqlite:";

	return url != NULL && strncmp(url, scheme, sizeof scheme - 1) == 0 ? url + sizeof scheme - 1
									   : NULL;
}

enum err
exposure_open(const struct config *c, const char *env_file, struct web_root **out)
{
	struct parts p = { .count = 0 };
	struct arena a;
	enum err rc;

	arena_init(&a, ARENA_BYTES);
	add(&p, c->state_dir, "the state folder");
	add(&p, env_file == NULL ? ".env" : env_file, "the file of settings");
	add(&p, embedded(c->db_write_url), "the database");
	add(&p, embedded(c->db_read_url), "the database");
	add(&p, c->log_file, "the log");
	add_folders(&p, c->handlers, &a);
	rc = p.full ? ERR_FULL : web_root_open(p.list, p.count, out);
	arena_free(&a);
	return rc;
}
