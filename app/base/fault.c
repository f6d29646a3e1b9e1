/*
 * Everything that is wrong, gathered to be said at once.
 *
 * The list is bounded: a folder full of rubbish fills it, and the rest is
 * only counted.  Texts quote files that anybody may have written, so no
 * control byte of theirs reaches the terminal.
 */
#include "base/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

enum {
	LIST_BYTES = 1 << 20,
	FIRST_ITEMS = 16,
	TEXT_BYTES = 1024,    /* of one fault; longer ones are cut */
	NEAREST_BYTES = 64,   /* longer words are nobody's typing error */
	LINE_EXTRA_BYTES = 64 /* line number, "warning", punctuation */
};

void
fault_init(struct fault_list *l)
{
	*l = (struct fault_list){ .items = NULL };
	arena_init(&l->arena, LIST_BYTES);
}

/* Room for one more; false when the list is full. */
static bool
reserve(struct fault_list *l)
{
	const size_t cap = l->cap == 0 ? FIRST_ITEMS : 2 * l->cap;
	struct fault *wider;

	if (l->count < l->cap)
		return true;
	wider = arena_alloc(&l->arena, cap * sizeof *wider);
	if (wider == NULL)
		return false;
	if (l->count > 0)
		memcpy(wider, l->items, l->count * sizeof *wider);
	l->items = wider;
	l->cap = cap;
	return true;
}

static void
add(struct fault_list *l, struct fault f)
{
	f.file = arena_copy(&l->arena, slice_of(f.file));
	f.text = arena_copy(&l->arena, slice_of(f.text));
	if (f.file != NULL && f.text != NULL && reserve(l))
		l->items[l->count++] = f;
}

void
fault_add(struct fault_list *l, const char *file, unsigned line, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	l->errors++; /* also when there is no room to say it */
	add(l, (struct fault){ .file = file, .line = line, .text = text });
}

void
fault_warn(struct fault_list *l, const char *file, unsigned line, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	add(l, (struct fault){ .file = file, .line = line, .warning = true, .text = text });
}

static void
add_clean(struct strbuf *b, const char *s)
{
	for (; *s != '\0'; s++)
		strbuf_add_char(b, (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
}

static void
add_line(struct strbuf *b, const struct fault *f)
{
	add_clean(b, f->file);
	if (f->line > 0)
		strbuf_addf(b, ":%u", f->line);
	strbuf_add_cstr(b, f->warning ? ": warning: " : ": ");
	add_clean(b, f->text);
	strbuf_add_char(b, '\n');
}

static void
write_all(int fd, struct slice s)
{
	while (s.len > 0) {
		const ssize_t n = write(fd, s.ptr, s.len);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		s = (struct slice){ s.ptr + n, s.len - (size_t)n };
	}
}

void
fault_print(const struct fault_list *l, int fd)
{
	struct strbuf b = STRBUF_INIT(LIST_BYTES + l->count * LINE_EXTRA_BYTES);

	for (size_t i = 0; i < l->count; i++)
		add_line(&b, &l->items[i]);
	write_all(fd, strbuf_slice(&b));
	if (l->arena.overflowed)
		write_all(fd, SLICE("and more: mend these first\n"));
	strbuf_free(&b);
}

void
fault_free(struct fault_list *l)
{
	arena_free(&l->arena);
	*l = (struct fault_list){ .arena = l->arena };
}

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * Edit distance: insert, delete, replace, or swap two neighbours (Damerau
 * 1964, in the form that edits no part twice), over three rows of the table.
 */
static size_t
distance(struct slice a, struct slice b)
{
	size_t rows[3][NEAREST_BYTES + 1];

	for (size_t j = 0; j <= b.len; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		size_t *now = rows[i % 3];
		const size_t *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			const bool same = a.ptr[i - 1] == b.ptr[j - 1];

			now[j] = least(last[j - 1] + !same, least(last[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] &&
			    a.ptr[i - 2] == b.ptr[j - 1])
				now[j] = least(now[j], before[j - 2] + 1);
		}
	}
	return rows[a.len % 3][b.len];
}

const char *
fault_nearest(const char *word, const char *const *known)
{
	const struct slice w = slice_of(word);
	size_t best = (w.len + 2) / 3 + 1; /* one slip in three letters is still the same word */
	const char *nearest = NULL;

	if (w.len > NEAREST_BYTES)
		return NULL;
	for (; *known != NULL; known++) {
		const struct slice k = slice_of(*known);
		const size_t d = k.len > NEAREST_BYTES ? best : distance(w, k);

		if (d < best && d < k.len) {
			best = d;
			nearest = *known;
		}
	}
	return nearest;
}
