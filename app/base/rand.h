#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

/* Unpredictable bytes (getrandom); aborts when the kernel has none to give. */
void rand_bytes(void *out, size_t len);
/* Fast, for jitter and ids: a per-thread generator seeded by rand_bytes(). */
uint64_t rand_u64(void);

#endif
