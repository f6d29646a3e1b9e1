/*
 * Accept: an endpoint speaks JSON only, so the one question is whether the client can take it.  A page for people
 * is for who names it.
 */
#include "http/accept.h"

/* 3: application/json, 2: application/..., 1: any, 0: another type, -1: not a media range. */
static int
specificity(struct slice range)
{
	struct slice subtype = range;
	const struct slice type = slice_cut(&subtype, '/');

	if (type.len == 0 || subtype.len == 0)
		return -1;
	if (slice_eq_cstr(type, "*"))
		return slice_eq_cstr(subtype, "*") ? 1 : -1;
	if (!slice_eq_nocase(type, "application"))
		return 0;
	if (slice_eq_nocase(subtype, "json"))
		return 3;
	return slice_eq_cstr(subtype, "*") ? 2 : 0;
}

/* "0", "0.", "0.0" ...: all that a weight can say to forbid. */
static bool
is_zero(struct slice weight)
{
	for (size_t i = 0; i < weight.len; i++)
		if (weight.ptr[i] != '0' && weight.ptr[i] != '.')
			return false;
	return weight.len > 0 && weight.ptr[0] == '0';
}

static bool
forbids(struct slice parameters)
{
	while (parameters.ptr != NULL) {
		struct slice value = slice_cut(&parameters, ';');
		const struct slice name = slice_trim(slice_cut(&value, '='));

		if (slice_eq_nocase(name, "q"))
			return is_zero(slice_trim(value));
	}
	return false;
}

bool
accept_allows_json(struct slice accept)
{
	int best = -1;
	bool allowed = true;

	while (accept.ptr != NULL) {
		struct slice parameters = slice_cut(&accept, ',');
		const struct slice range = slice_trim(slice_cut(&parameters, ';'));
		const int how = specificity(range);

		if (how > best) {
			best = how;
			allowed = how > 0 && !forbids(parameters);
		}
	}
	return allowed;
}

bool
accept_names(struct slice accept, const char *type)
{
	while (accept.ptr != NULL) {
		struct slice parameters = slice_cut(&accept, ',');

		if (slice_eq_nocase(slice_trim(slice_cut(&parameters, ';')), type))
			return !forbids(parameters);
	}
	return false;
}
