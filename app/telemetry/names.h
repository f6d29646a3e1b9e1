#ifndef TELEMETRY_NAMES_H
#define TELEMETRY_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/*
 * Names in shared memory, each with a number below NAMES_ROWS: what a table of counters is indexed by.
 *
 * A name is claimed by who first counts for it and never given up, so a number means the same for the
 * segment's life, over reloads and deaths.  The key is a hash of the name that its user has at hand.  All
 * zero is empty.
 */
enum { NAMES_ROWS = 128, NAMES_NONE = NAMES_ROWS, NAME_BYTES = 64 /* with its end */ };

struct names {
	_Atomic uint64_t key[NAMES_ROWS]; /* 0: free */
	/* The last word is a hash of key and text: a row whose claimer died half way does not read. */
	_Atomic uint64_t text[NAMES_ROWS][NAME_BYTES / 8 + 1];
};

/* NAMES_NONE: no row is left.  What is longer than a name may be is cut.  Finding is a few loads. */
uint32_t names_claim(struct names *n, uint64_t key, struct slice name);

/* False: free, or its claimer has not written it yet. */
bool names_read(const struct names *n, uint32_t row, char out[NAME_BYTES]);

#endif
