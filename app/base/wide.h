#ifndef BASE_WIDE_H
#define BASE_WIDE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A word of 16 bytes in memory that processes share, changed whole by one compare-and-swap: x86's cmpxchg16b and its
 * like, never a lock.  Its halves may be looked at alone, each an atomic of 8 bytes.
 */
#ifndef __GCC_HAVE_SYNC_COMPARE_AND_SWAP_16
#error "build with -mcx16: a 16-byte swap through a lock in some library is none between processes"
#endif
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "half.high is the upper half of word");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "no lock behind the halves");

__extension__ typedef unsigned __int128 wide;

union wide_word {
	wide word;
	struct {
		_Atomic uint64_t low, high;
	} half;
};

/*
 * ThreadSanitizer replaces the instruction by a lock of its own process, which is none between processes; it
 * understands the halves' atomics.
 */
#if defined(__SANITIZE_THREAD__)
#define WIDE_INLINE __attribute__((noinline, unused, no_sanitize("thread"))) static
#else
#define WIDE_INLINE static inline
#endif

/* True: it was ${seen} and is ${next} now. */
WIDE_INLINE bool
wide_swap(union wide_word *at, wide seen, wide next)
{
	return __sync_bool_compare_and_swap(&at->word, seen, next);
}

/* Two loads of halves could tear; a swap that changes nothing cannot.  It writes the cache line all the same. */
WIDE_INLINE wide
wide_load(const union wide_word *at)
{
	union {
		const union wide_word *from;
		union wide_word *to;
	} alias = { .from = at };

	return __sync_val_compare_and_swap(&alias.to->word, (wide)0, (wide)0);
}

#endif
