#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

/*
 * Everything that is wrong, not only the first thing: settings and endpoint files are checked whole
 * and each fault is one line for a person, `file:line: what, and what was expected`.
 */
struct fault {
	const char *file; /* or the name of a setting */
	unsigned line;	  /* 0: none */
	bool warning;	  /* said, but weir starts */
	const char *text;
};

struct fault_list {
	struct arena arena;
	struct fault *items;
	size_t count, cap;
	size_t errors; /* without the warnings */
};

void fault_init(struct fault_list *l);
void fault_add(struct fault_list *l, const char *file, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void fault_warn(struct fault_list *l, const char *file, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void fault_print(const struct fault_list *l, int fd); /* one line each */
void fault_free(struct fault_list *l);

/* The entry of ${known} (NULL-terminated) nearest to ${word} by edit distance, NULL when none is near:
 * for "did you mean". */
const char *fault_nearest(const char *word, const char *const *known);

#endif
