#ifndef BASE_DOTENV_H
#define BASE_DOTENV_H

#include "base/err.h"
#include "base/str.h"

/*
 * `.env` files: NAME=value lines; blank lines and `#` comments; optional `export `; values bare
 * (trimmed; ` #` starts a comment), 'single quoted' (literal) or "double quoted" (\n \t \" \\ \$).
 * Nothing is expanded, no line continues.
 */
typedef void dotenv_line_fn(void *ctx, struct slice name, struct slice value, unsigned line);

/* Calls ${fn} for each line.  ERR_INVALID at the first bad one: *${line_out} and *${why_out}. */
enum err dotenv_parse(
    struct slice text, dotenv_line_fn *fn, void *ctx, unsigned *line_out, const char **why_out);

#endif
