/*
 * What people write for time and size.
 *
 * Lower-case suffixes only: `10M` could be meant as minutes or as megabytes.
 */
#include "base/units.h"

struct unit {
	const char *suffix;
	int64_t factor;
};

static const struct unit durations[] = {
	{ "ms", 1 },
	{ "s", 1000 },
	{ "m", 60 * 1000 },
	{ "h", 60 * 60 * 1000 },
	{ "d", 24 * 60 * 60 * 1000 },
	{ NULL, 0 },
};

static const struct unit sizes[] = {
	{ "k", 1 << 10 },
	{ "m", 1 << 20 },
	{ "g", 1 << 30 },
	{ NULL, 0 },
};

static int64_t
factor_of(struct slice suffix, const struct unit *units, int64_t bare)
{
	if (suffix.len == 0)
		return bare;
	for (const struct unit *u = units; u->suffix != NULL; u++)
		if (slice_eq_cstr(suffix, u->suffix))
			return u->factor;
	return 0;
}

static enum err
read_quantity(struct slice s, const struct unit *units, int64_t bare, int64_t *out)
{
	const struct slice digits = { s.ptr, slice_digits_at(s, 0) };
	int64_t n, factor;

	if (slice_to_i64(digits, &n) != ERR_OK)
		return ERR_INVALID;
	factor = factor_of((struct slice){ s.ptr + digits.len, s.len - digits.len }, units, bare);
	if (factor <= 0 || __builtin_mul_overflow(n, factor, &n))
		return ERR_INVALID;
	*out = n;
	return ERR_OK;
}

enum err
units_duration_ms(struct slice s, int64_t bare_ms, int64_t *ms_out)
{
	return read_quantity(s, durations, bare_ms, ms_out);
}

enum err
units_bytes(struct slice s, int64_t *bytes_out)
{
	return read_quantity(s, sizes, 1, bytes_out);
}
