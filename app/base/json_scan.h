#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include "base/json.h"

/*
 * What the files json*.c share with each other and with nobody else.
 */

/* The text of ${raw}, a string that was scanned; in the arena only where an escape had to be undone. */
enum err json_unescape_lazy(struct slice raw, struct arena *a, struct slice *out);

#endif
