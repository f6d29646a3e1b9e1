/*
 * A ring of rows with one writer.
 *
 * `written` counts the rows that are whole.  A row is overwritten HISTORY_SLOTS rows later, which is more than a
 * reader asks for; one that was stopped for so long sees it by the count, and drops what may be of two rows.
 */
#include "telemetry/history.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

enum { HISTORY_SLOTS = 640 };

struct slot {
	_Atomic int64_t at_ms;
	_Atomic int64_t values[HISTORY__COUNT];
};

struct history {
	alignas(64) _Atomic uint64_t written;
	alignas(64) struct slot slots[HISTORY_SLOTS];
};

const struct history_info history_infos[HISTORY__COUNT] = {
#define HISTORY(id, name, kind, help) { name, HISTORY_##kind, help },
#include "telemetry/history_columns.inc"
#undef HISTORY
};

size_t
history_size(void)
{
	return sizeof(struct history);
}

void
history_init(void *mem)
{
	memset(mem, 0, sizeof(struct history));
}

static void
slot_write(struct slot *s, const struct history_row *row)
{
	atomic_store_explicit(&s->at_ms, row->at_ms, memory_order_relaxed);
	for (size_t i = 0; i < HISTORY__COUNT; i++)
		atomic_store_explicit(&s->values[i], row->values[i], memory_order_relaxed);
}

static void
slot_read(const struct slot *s, struct history_row *out)
{
	out->at_ms = atomic_load_explicit(&s->at_ms, memory_order_relaxed);
	for (size_t i = 0; i < HISTORY__COUNT; i++)
		out->values[i] = atomic_load_explicit(&s->values[i], memory_order_relaxed);
}

void
history_add(struct history *h, const struct history_row *row)
{
	const uint64_t n = atomic_load_explicit(&h->written, memory_order_relaxed);

	if (n > 0 && row->at_ms - atomic_load_explicit(&h->slots[(n - 1) % HISTORY_SLOTS].at_ms,
				      memory_order_relaxed) <
			 HISTORY_STEP_MS)
		return;
	slot_write(&h->slots[n % HISTORY_SLOTS], row);
	atomic_store_explicit(&h->written, n + 1, memory_order_release);
}

size_t
history_read(const struct history *h, struct history_row *out, size_t max)
{
	const uint64_t written = atomic_load_explicit(&h->written, memory_order_acquire);
	const uint64_t most = max < HISTORY_ROWS ? max : HISTORY_ROWS;
	const uint64_t first = written > most ? written - most : 0;
	uint64_t now, safe;

	for (uint64_t i = first; i < written; i++)
		slot_read(&h->slots[i % HISTORY_SLOTS], &out[i - first]);
	atomic_thread_fence(memory_order_acquire);
	now = atomic_load_explicit(&h->written, memory_order_relaxed);
	/* The writer may be in the slot of row `now`, so all up to now - HISTORY_SLOTS are gone. */
	safe = now >= HISTORY_SLOTS ? now - HISTORY_SLOTS + 1 : 0;
	if (safe <= first)
		return (size_t)(written - first);
	if (safe >= written)
		return 0;
	memmove(out, out + (safe - first), (size_t)(written - safe) * sizeof *out);
	return (size_t)(written - safe);
}
