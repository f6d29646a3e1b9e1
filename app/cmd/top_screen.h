#ifndef CMD_TOP_SCREEN_H
#define CMD_TOP_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct snapshot;

/*
 * What `weir top` shows, as lines: pure, so that it can be looked at without a terminal.
 *
 * The most urgent stands first, so a small screen shows the head of the same list.  A line has one style, for a
 * state that a person should see, and says it in words as well.
 */
enum top_style { TOP_PLAIN, TOP_TITLE, TOP_HEAD, TOP_WARN, TOP_BAD };

enum { TOP_LINES_MAX = 512, TOP_BYTES_MAX = 128 * 1024 };

struct top_screen {
	struct strbuf text; /* of all lines, one after the other */
	struct top_line {
		enum top_style style;
		size_t at, len;
	} lines[TOP_LINES_MAX];
	size_t count;
	bool blocks; /* the terminal knows the block characters of Unicode */
};

#define TOP_SCREEN_INIT ((struct top_screen){ .text = STRBUF_INIT(TOP_BYTES_MAX) })

void top_screen_fill(const struct snapshot *s, struct top_screen *out);
/* One line of a program's own. */
void top_screen_say(struct top_screen *out, enum top_style style, const char *text);
void top_screen_clear(struct top_screen *out); /* keeps its memory */
void top_screen_free(struct top_screen *out);

/* The text of line ${i}, cut to ${columns} characters; nothing that could move the cursor. */
struct slice top_screen_line(const struct top_screen *s, size_t i, size_t columns);

#endif
