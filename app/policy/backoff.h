#ifndef POLICY_BACKOFF_H
#define POLICY_BACKOFF_H

#include <stdint.h>

/*
 * How long to wait before trying again.  Pure.
 */

/*
 * Milliseconds after the ${failures}th failure in a row: 0 for none, else evenly somewhere in the
 * upper half of min(${cap_ms}, ${base_ms} * 2^(failures - 1)), and at least 1.  The half is random, so
 * that those who failed together do not come back together; the other half is a floor, so that nobody
 * comes back at once.  ${random32} is any random word.
 */
uint32_t backoff_next_ms(uint32_t failures, uint32_t base_ms, uint32_t cap_ms, uint32_t random32);

/*
 * For a worker that died ${failures} times before its first answer: 0, 2 s, 4 s ... 60 s.  Not random:
 * one supervisor starts them all, and a person who watches it should know when.
 */
uint32_t backoff_respawn_ms(uint32_t failures);

#endif
