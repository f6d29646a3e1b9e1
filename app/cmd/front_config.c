/*
 * Reading the configuration of nginx or Apache: words, sections, included files.
 */
#include "cmd/front_config.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/str.h"

enum { FILE_BYTES_MAX = 4 << 20, WORDS_MAX = 512, DEPTH_MAX = 16 };

/* One file on its way into the tree. */
struct reading {
	const struct front_config *config;
	struct arena *a;
	const char *file;
	const char *at, *end;
	unsigned line;
	unsigned depth;	  /* of includes */
	unsigned nesting; /* of sections, in this file */
};

static enum err read_file(const struct front_config *c, const char *path, unsigned depth,
    struct arena *a, struct front_directive *into, struct front_directive ***tail,
    const char **where_out);

static enum err
slurp(const char *path, struct arena *a, struct slice *out)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct strbuf b = STRBUF_INIT(FILE_BYTES_MAX);
	char bytes[16384];
	ssize_t n;

	if (fd == -1)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	while ((n = read(fd, bytes, sizeof bytes)) > 0)
		strbuf_add(&b, bytes, (size_t)n);
	(void)close(fd);
	*out = arena_slice(a, strbuf_slice(&b));
	if (out->ptr == NULL)
		*out = SLICE("");
	strbuf_free(&b);
	return n < 0 || b.failed ? ERR_IO : ERR_OK;
}

/*
 * Words.
 */
static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Spaces and comments; for nginx ends of lines too, for Apache those behind a backslash. */
static void
skip(struct reading *r)
{
	const bool nginx = r->config->syntax == FRONT_NGINX;

	while (r->at < r->end) {
		if (*r->at == '\n' && nginx) {
			r->line++;
			r->at++;
		} else if (*r->at == '\\' && !nginx && r->at + 1 < r->end && r->at[1] == '\n') {
			r->line++;
			r->at += 2;
		} else if (is_blank(*r->at)) {
			r->at++;
		} else if (*r->at == '#' && nginx) {
			while (r->at < r->end && *r->at != '\n')
				r->at++;
		} else {
			return;
		}
	}
}

static bool
ends_word(const struct reading *r, char c)
{
	if (is_blank(c) || c == '\n')
		return true;
	return r->config->syntax == FRONT_NGINX ? c == ';' || c == '{' || c == '}' : c == '>';
}

/* A word, without its quotes; absent at the end, and where something else stands. */
static struct slice
next_word(struct reading *r)
{
	struct strbuf b = STRBUF_INIT(FILE_BYTES_MAX);
	struct slice word = { 0 };
	char quote = '\0';

	skip(r);
	if (r->at == r->end || ends_word(r, *r->at))
		return word;
	if (*r->at == '"' || *r->at == '\'')
		quote = *r->at++;
	while (r->at < r->end && (quote != '\0' ? *r->at != quote : !ends_word(r, *r->at))) {
		if (*r->at == '\\' && r->at + 1 < r->end && r->at[1] != '\n')
			r->at++;
		r->line += *r->at == '\n';
		strbuf_add_char(&b, *r->at++);
	}
	if (quote != '\0' && r->at < r->end)
		r->at++;
	word = arena_slice(r->a, b.len == 0 ? SLICE("") : strbuf_slice(&b));
	strbuf_free(&b);
	return word;
}

/* All words up to what ends the directive; NULL: no memory, or far too many. */
static struct front_directive *
read_words(struct reading *r)
{
	struct front_directive *d = arena_alloc(r->a, sizeof *d);
	const char *words[WORDS_MAX];
	const char **kept;
	size_t n = 0;

	if (d == NULL)
		return NULL;
	*d = (struct front_directive){ .file = r->file, .line = r->line };
	for (;;) {
		const struct slice word = next_word(r);

		if (word.ptr == NULL)
			break;
		if (n == WORDS_MAX - 1)
			return NULL;
		words[n++] = arena_copy(r->a, word);
	}
	kept = arena_alloc(r->a, (n + 1) * sizeof *kept);
	if (kept == NULL)
		return NULL;
	memcpy(kept, words, n * sizeof *kept);
	kept[n] = NULL;
	d->words = kept;
	d->count = n;
	return d;
}

static void
append(struct front_directive *into, struct front_directive ***tail, struct front_directive *d)
{
	d->parent = into;
	**tail = d;
	*tail = &d->next;
}

/*
 * Included files.
 */
static const char *
absolute(const struct front_config *c, const char *path, struct arena *a)
{
	return *path == '/' ? path : arena_printf(a, "%s/%s", c->folder, path);
}

/* ${d}'s pattern names files that stand here. */
static void
include(struct reading *r, const struct front_directive *d, struct front_directive *into,
    struct front_directive ***tail)
{
	const char *pattern = d->count < 2 ? NULL : absolute(r->config, d->words[1], r->a);
	glob_t found;

	if (pattern == NULL || r->depth == DEPTH_MAX || glob(pattern, 0, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *path = arena_copy(r->a, slice_of(found.gl_pathv[i]));
		const char *ignored;

		if (path != NULL)
			(void)read_file(r->config, path, r->depth + 1, r->a, into, tail, &ignored);
	}
	globfree(&found);
}

static bool
is_include(const struct reading *r, const struct front_directive *d)
{
	if (r->config->syntax == FRONT_NGINX)
		return strcmp(d->words[0], "include") == 0;
	return strcasecmp(d->words[0], "Include") == 0 ||
	       strcasecmp(d->words[0], "IncludeOptional") == 0;
}

static void
add(struct reading *r, struct front_directive *d, struct front_directive *into,
    struct front_directive ***tail)
{
	if (d->count == 0)
		return;
	if (is_include(r, d))
		include(r, d, into, tail);
	else
		append(into, tail, d);
}

/*
 * nginx.
 */
static enum err read_nginx(
    struct reading *r, struct front_directive *into, struct front_directive ***tail);

static enum err
read_nginx_section(struct reading *r, struct front_directive *d, struct front_directive *into,
    struct front_directive ***tail)
{
	struct front_directive **inner = &d->children;
	enum err rc;

	if (d->count == 0)
		return ERR_INVALID;
	d->section = true;
	append(into, tail, d);
	r->nesting++;
	rc = read_nginx(r, d, &inner);
	r->nesting--;
	return rc;
}

/* Up to the end of the section, or of the file. */
static enum err
read_nginx(struct reading *r, struct front_directive *into, struct front_directive ***tail)
{
	enum err rc = ERR_OK;

	while (rc == ERR_OK) {
		struct front_directive *d;
		char end;

		skip(r);
		if (r->at == r->end)
			return r->nesting == 0 ? ERR_OK : ERR_INVALID;
		if (*r->at == '}' && r->nesting > 0) {
			r->at++;
			return ERR_OK;
		}
		d = read_words(r);
		if (d == NULL)
			return ERR_NOMEM;
		end = r->at == r->end ? '\0' : *r->at++;
		if (end == ';')
			add(r, d, into, tail);
		else
			rc = end == '{' ? read_nginx_section(r, d, into, tail) : ERR_INVALID;
	}
	return rc;
}

/*
 * Apache.
 */
static void
skip_line(struct reading *r)
{
	while (r->at < r->end && *r->at != '\n')
		r->at++;
}

/* To the next line that says something; false: there is none. */
static bool
next_line(struct reading *r)
{
	for (;;) {
		skip(r);
		if (r->at == r->end)
			return false;
		if (*r->at == '#')
			skip_line(r);
		else if (*r->at == '\n')
			r->line++, r->at++;
		else
			return true;
	}
}

static enum err
read_apache(struct reading *r, struct front_directive *into, struct front_directive ***tail)
{
	while (next_line(r)) {
		const bool section = *r->at == '<';
		const bool ends = section && r->at + 1 < r->end && r->at[1] == '/';
		struct front_directive **inner;
		struct front_directive *d;
		enum err rc;

		if (ends) {
			skip_line(r);
			return r->nesting > 0 ? ERR_OK : ERR_INVALID;
		}
		r->at += section;
		d = read_words(r);
		if (d == NULL)
			return ERR_NOMEM;
		skip_line(r); /* the bracket, or what only looks like one */
		if (!section || d->count == 0) {
			add(r, d, into, tail);
			continue;
		}
		d->section = true;
		append(into, tail, d);
		inner = &d->children;
		r->nesting++;
		rc = read_apache(r, d, &inner);
		r->nesting--;
		if (rc != ERR_OK)
			return rc;
	}
	return r->nesting == 0 ? ERR_OK : ERR_INVALID;
}

static enum err
read_file(const struct front_config *c, const char *path, unsigned depth, struct arena *a,
    struct front_directive *into, struct front_directive ***tail, const char **where_out)
{
	struct reading r = { .config = c, .a = a, .file = path, .line = 1, .depth = depth };
	struct slice text;
	enum err rc = slurp(path, a, &text);

	*where_out = path;
	if (rc != ERR_OK)
		return rc;
	r.at = text.ptr;
	r.end = text.ptr + text.len;
	rc = c->syntax == FRONT_NGINX ? read_nginx(&r, into, tail) : read_apache(&r, into, tail);
	return a->overflowed ? ERR_NOMEM : rc;
}

enum err
front_config_read(enum front_syntax syntax, const char *path, const char *folder, struct arena *a,
    struct front_config *out, const char **where_out)
{
	struct front_directive **tail = &out->root.children;

	*out = (struct front_config){ .syntax = syntax, .folder = folder, .root.section = true };
	return read_file(out, path, 0, a, &out->root, &tail, where_out);
}

/*
 * Looking.
 */
static bool
is_named(const struct front_directive *d, const char *name, bool nocase)
{
	return (nocase ? strcasecmp(d->words[0], name) : strcmp(d->words[0], name)) == 0;
}

/* What comes after ${d} below ${root}, children first. */
static const struct front_directive *
following(const struct front_directive *root, const struct front_directive *d)
{
	if (d->children != NULL)
		return d->children;
	while (d != root && d->next == NULL)
		d = d->parent;
	return d == root ? NULL : d->next;
}

const struct front_directive *
front_config_find(const struct front_directive *root, const struct front_directive *after,
    const char *name, bool nocase)
{
	const struct front_directive *d = following(root, after == NULL ? root : after);

	while (d != NULL && !is_named(d, name, nocase))
		d = following(root, d);
	return d;
}

const struct front_directive *
front_config_in_force(const struct front_directive *at, const char *name, bool nocase)
{
	for (const struct front_directive *up = at->parent; up != NULL; up = up->parent) {
		const struct front_directive *last = NULL;

		for (const struct front_directive *d = up->children; d != NULL; d = d->next)
			if (is_named(d, name, nocase))
				last = d;
		if (last != NULL)
			return last;
	}
	return NULL;
}
