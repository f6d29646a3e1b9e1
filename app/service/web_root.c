/*
 * What of ours lies open in a front server's web root.
 *
 * A .htaccess is read as far as it must be: Require lines outside of any section.
 */
#include "service/web_root.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

enum {
	LOOK_EVERY_MS = 1000,
	HTACCESS_BYTES_MAX = 65536, /* one that is longer is no file of ours */
	WORDS_BYTES = 256,
};

struct web_root {
	struct web_root_part parts[WEB_ROOT_PARTS_MAX];
	size_t count;
	/* The last look. */
	char document_root[PATH_MAX];
	bool reads_htaccess;
	int64_t looked_ms; /* 0: none yet */
	const struct web_root_part *open;
	char words[WORDS_BYTES];
};

enum err
web_root_open(const struct web_root_part *parts, size_t count, struct web_root **out)
{
	struct web_root *w = count > WEB_ROOT_PARTS_MAX ? NULL : calloc(1, sizeof *w);
	enum err rc = count > WEB_ROOT_PARTS_MAX ? ERR_FULL : ERR_NOMEM;

	*out = NULL;
	for (; w != NULL && w->count < count; w->count++) {
		const struct web_root_part *p = &parts[w->count];

		w->parts[w->count] =
		    (struct web_root_part){ p->path == NULL ? NULL : strdup(p->path), p->what };
		if (p->path != NULL && w->parts[w->count].path == NULL)
			break;
	}
	if (w != NULL && w->count == count) {
		*out = w;
		return ERR_OK;
	}
	web_root_close(&w);
	return rc;
}

void
web_root_close(struct web_root **wp)
{
	struct web_root *w = *wp;

	if (w == NULL)
		return;
	*wp = NULL;
	for (size_t i = 0; i < w->count; i++)
		free((char *)(uintptr_t)w->parts[i].path);
	free(w);
}

/*
 * One .htaccess.
 */
enum says { SAYS_NOTHING, SAYS_DENIED, SAYS_OTHER };

static bool
begins(const char *line, const char *word)
{
	return strncasecmp(line, word, strlen(word)) == 0;
}

/* "all denied", or what the .htaccess that we ship says: nothing that lies there, but the program. */
static bool
denies(const char *requirement)
{
	return strcasecmp(requirement, "all denied") == 0 ||
	       begins(requirement, "expr \"! -e %{REQUEST_FILENAME} ||");
}

/* ${line} is without its end; several requirements are met by any one of them. */
static enum says
after_line(enum says before, char *line, int *depth)
{
	size_t len;

	line += strspn(line, " \t");
	for (len = strlen(line); len > 0 && isspace((unsigned char)line[len - 1]); len--)
		line[len - 1] = '\0';
	if (*line == '<')
		*depth += line[1] == '/' ? -1 : 1;
	if (*depth != 0 || !begins(line, "Require") || !isspace((unsigned char)line[7]))
		return before;
	line += 7 + strspn(line + 7, " \t");
	return denies(line) && before != SAYS_OTHER ? SAYS_DENIED : SAYS_OTHER;
}

static enum says
text_says(char *text)
{
	enum says says = SAYS_NOTHING;
	char *line, *rest = text;
	int depth = 0;

	while ((line = strsep(&rest, "\n")) != NULL)
		says = after_line(says, line, &depth);
	return says;
}

static enum says
folder_says(const char *folder)
{
	char path[PATH_MAX], *text = malloc(HTACCESS_BYTES_MAX + 1);
	const int n = snprintf(path, sizeof path, "%s/.htaccess", folder);
	const int fd = n < (int)sizeof path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	enum says says = SAYS_NOTHING;
	ssize_t len;

	if (text != NULL && fd != -1) {
		len = read(fd, text, HTACCESS_BYTES_MAX + 1);
		text[len > 0 && len <= HTACCESS_BYTES_MAX ? len : 0] = '\0';
		says = text_says(text);
	}
	if (fd != -1)
		(void)close(fd);
	free(text);
	return says;
}

/*
 * One part of what is ours.
 */
static bool
lies_in(const char *path, const char *root)
{
	const size_t n = strlen(root);

	return strncmp(path, root, n) == 0 &&
	       (path[n] == '\0' || path[n] == '/' || (n > 0 && root[n - 1] == '/'));
}

static bool
is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* From the folder of ${path} upwards to ${root}; ${path} is used up. */
static bool
is_denied(char *path, const char *root)
{
	char *slash;

	if (!is_folder(path) && (slash = strrchr(path, '/')) != NULL)
		*slash = '\0';
	for (;;) {
		const enum says says = folder_says(path);

		if (says != SAYS_NOTHING)
			return says == SAYS_DENIED;
		slash = strrchr(path, '/');
		if (strlen(path) <= strlen(root) || slash == NULL || slash == path)
			return false;
		*slash = '\0';
	}
}

static bool
is_open(const struct web_root *w, const struct web_root_part *p, const char *root)
{
	char path[PATH_MAX];

	if (p->path == NULL || realpath(p->path, path) == NULL || !lies_in(path, root))
		return false;
	return !w->reads_htaccess || !is_denied(path, root);
}

/*
 * All of it.
 */
static const struct web_root_part *
look(const struct web_root *w)
{
	char root[PATH_MAX];

	if (*w->document_root == '\0' || realpath(w->document_root, root) == NULL)
		return NULL; /* the front is on another machine, or has none */
	for (size_t i = 0; i < w->count; i++)
		if (is_open(w, &w->parts[i], root))
			return &w->parts[i];
	return NULL;
}

static void
say(const struct web_root *w, const struct web_root_part *before)
{
	if (w->open == before)
		return;
	if (w->open == NULL)
		log_info("web_root_closed", LOG_STR("document_root", w->document_root));
	else
		log_error("web_root_open", LOG_STR("what", w->open->what),
		    LOG_STR("path", w->open->path), LOG_STR("document_root", w->document_root),
		    LOG_STR("so", "every request is answered 503"),
		    LOG_STR("mend",
			w->reads_htaccess
			    ? "put weir's .htaccess (apache/htaccess) into the document root, or "
			      "move it out of there"
			    : "move it out of the document root: this front server reads no "
			      ".htaccess"));
}

static void
look_again(struct web_root *w)
{
	const struct web_root_part *before = w->open;

	w->open = look(w);
	if (w->open != NULL)
		(void)snprintf(w->words, sizeof w->words,
		    "%s can be read from outside, for it lies in the document root and nothing "
		    "denies it; the log says how to mend that",
		    w->open->what);
	say(w, before);
}

/* Those that are known to read .htaccess files; by its name, for a front does not say what it reads. */
static bool
reads_htaccess(struct slice software)
{
	return slice_starts(software, "Apache") || slice_starts(software, "LiteSpeed");
}

const char *
web_root_fault(
    struct web_root *w, struct slice document_root, struct slice software, int64_t now_ms)
{
	const bool reads = reads_htaccess(software);
	const bool same = w->looked_ms != 0 && reads == w->reads_htaccess &&
			  slice_eq_cstr(document_root, w->document_root);

	if (document_root.len >= sizeof w->document_root)
		return NULL; /* no such folder can be opened */
	if (!same || now_ms - w->looked_ms >= LOOK_EVERY_MS) {
		(void)snprintf(w->document_root, sizeof w->document_root, "%.*s",
		    (int)document_root.len, document_root.len > 0 ? document_root.ptr : "");
		w->reads_htaccess = reads;
		w->looked_ms = now_ms;
		look_again(w);
	}
	return w->open == NULL ? NULL : w->words;
}
