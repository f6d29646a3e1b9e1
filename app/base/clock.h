#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Time.  Monotonic for every interval (common to all processes of the host,
 * starts again at boot), wall clock only for people, records and headers.
 * Read once per step and passed on; nothing in policy/ calls these.
 */
int64_t clock_mono_ns(void);
int64_t clock_mono_ms(void);
int64_t clock_wall_us(void); /* microseconds since 1970 */

enum { CLOCK_RFC3339_BYTES = 28 }; /* "2026-11-24T04:09:44.123456Z" and NUL */

/* Writes UTC RFC 3339 with six decimals and returns ${out}. */
char *clock_rfc3339(int64_t wall_us, char out[CLOCK_RFC3339_BYTES]);
/* Back from ${len} bytes; false: not exactly what clock_rfc3339() writes for any moment. */
bool clock_rfc3339_parse(const char *text, size_t len, int64_t *wall_us_out);

#endif
