#ifndef CMD_FRONT_CONFIG_H
#define CMD_FRONT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * The configuration of a front server as a tree, each directive with its place: what `weir doctor` looks at.
 *
 * nginx's form (`name args;`, `name args { ... }`) and Apache's (`Name args` on a line, `<Name args>` ... `</Name>`).
 * Included files stand where they are included.  No variable is expanded, for what can be judged stands there plainly.
 */
struct front_directive {
	const char *file; /* as it was opened */
	unsigned line;
	const char *const *words; /* the name first; NULL-terminated */
	size_t count;
	bool section; /* has children, perhaps none */
	struct front_directive *parent, *children, *next;
};

enum front_syntax { FRONT_NGINX, FRONT_APACHE };

struct front_config {
	enum front_syntax syntax;
	const char *folder; /* relative includes count from it */
	struct front_directive root;
};

/* Everything lives in ${a}.  ERR_NOT_FOUND, ERR_IO: ${path} cannot be read; ERR_INVALID: it is not of that form;
 * *${where_out} is the file it went wrong in.  An included file that cannot be read is left out. */
enum err front_config_read(enum front_syntax syntax, const char *path, const char *folder,
    struct arena *a, struct front_config *out, const char **where_out);

/* The next directive of that name below ${root}, in the order of the file; ${after} NULL: the first. */
const struct front_directive *front_config_find(const struct front_directive *root,
    const struct front_directive *after, const char *name, bool nocase);

/* What is in force at ${at}: the last directive of that name among its siblings, else around it; NULL: none. */
const struct front_directive *front_config_in_force(
    const struct front_directive *at, const char *name, bool nocase);

#endif
