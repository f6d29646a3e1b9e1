#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * What people write for time and size: `250ms 3s 5m 1h 7d`, `64k 16m 1g`.
 * A bare number has the unit ${bare_ms} (1000 for seconds) or bytes.
 * ERR_INVALID for anything else, a negative number, or an overflow.
 */
enum err units_duration_ms(struct slice s, int64_t bare_ms, int64_t *ms_out);
enum err units_bytes(struct slice s, int64_t *bytes_out);

#endif
