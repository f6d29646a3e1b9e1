#ifndef BASE_WAKE_H
#define BASE_WAKE_H

#include <stdint.h>

/*
 * Sleeping on a word in shared memory (futex(2)): who changes the word wakes the sleepers of all
 * processes.  Never relied on alone: every wait has a timeout, for a waker may be killed before it wakes.
 */
void wake_wait(const _Atomic uint32_t *word, uint32_t seen,
    int64_t timeout_ms);	       /* at once when the word is not ${seen} */
void wake_all(_Atomic uint32_t *word); /* the caller has changed it */

#endif
