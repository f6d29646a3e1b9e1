/*
 * Open addressing; as no row is ever freed, a name lies before the first free row on its way, or nowhere.
 */
#include "telemetry/names.h"

#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"

enum { NAME_WORDS = NAME_BYTES / 8 };

_Static_assert((NAMES_ROWS & (NAMES_ROWS - 1)) == 0, "a power of two");

static uint64_t
check_of(uint64_t key, const uint64_t words[NAME_WORDS])
{
	return hash64(key, words, NAME_BYTES);
}

static void
write_text(struct names *n, uint32_t row, uint64_t key, struct slice name)
{
	uint64_t words[NAME_WORDS] = { 0 };

	memcpy(words, name.ptr, name.len < NAME_BYTES ? name.len : NAME_BYTES - 1);
	for (size_t i = 0; i < NAME_WORDS; i++)
		atomic_store_explicit(&n->text[row][i], words[i], memory_order_relaxed);
	atomic_store(&n->text[row][NAME_WORDS], check_of(key, words));
}

uint32_t
names_claim(struct names *n, uint64_t key, struct slice name)
{
	if (key == 0)
		key = 1;
	for (uint32_t i = 0; i < NAMES_ROWS; i++) {
		const uint32_t row = (uint32_t)(key + i) & (NAMES_ROWS - 1);
		uint64_t seen = atomic_load_explicit(&n->key[row], memory_order_relaxed);

		if (seen == 0 && atomic_compare_exchange_strong(&n->key[row], &seen, key))
			seen = key;
		if (seen != key)
			continue;
		/* Its claimer may have died before it wrote the name: whoever comes next does. */
		if (atomic_load_explicit(&n->text[row][NAME_WORDS], memory_order_relaxed) == 0)
			write_text(n, row, key, name);
		return row;
	}
	return NAMES_NONE;
}

bool
names_read(const struct names *n, uint32_t row, char out[NAME_BYTES])
{
	const uint64_t key = atomic_load(&n->key[row]);
	const uint64_t check = atomic_load(&n->text[row][NAME_WORDS]);
	uint64_t words[NAME_WORDS];

	if (key == 0 || check == 0)
		return false;
	for (size_t i = 0; i < NAME_WORDS; i++)
		words[i] = atomic_load_explicit(&n->text[row][i], memory_order_relaxed);
	memcpy(out, words, NAME_BYTES);
	return check_of(key, words) == check;
}
