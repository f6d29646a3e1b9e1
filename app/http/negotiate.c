/*
 * Weights, in thousandths.
 */
#include "http/negotiate.h"

enum { WEIGHT_FULL = 1000 };

/* "1", "0.6", "0.123"; -1: malformed. */
static int
weight_of(struct slice text)
{
	int weight = 0, unit = WEIGHT_FULL;

	if (text.len == 0 || text.len > 5 || (text.ptr[0] != '0' && text.ptr[0] != '1') ||
	    (text.len > 1 && text.ptr[1] != '.'))
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		if (i == 1)
			continue;
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return -1;
		weight += (text.ptr[i] - '0') * unit;
		unit /= 10;
	}
	return weight <= WEIGHT_FULL ? weight : -1;
}

static struct slice
unquoted(struct slice s)
{
	if (s.len >= 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"')
		return (struct slice){ s.ptr + 1, s.len - 2 };
	return s;
}

/* One member of the header; false: malformed. */
struct choice {
	struct slice name, version;
	int weight;
};

static bool
next_choice(struct slice *header, struct choice *out)
{
	struct slice rest = slice_cut(header, ',');

	*out = (struct choice){ .weight = WEIGHT_FULL };
	out->name = slice_trim(slice_cut(&rest, ';'));
	while (rest.ptr != NULL) {
		struct slice value = slice_cut(&rest, ';');
		const struct slice name = slice_trim(slice_cut(&value, '='));

		if (slice_eq_nocase(name, "q"))
			out->weight = weight_of(slice_trim(value));
		else if (slice_eq_nocase(name, "version"))
			out->version = unquoted(slice_trim(value));
	}
	return out->name.len > 0 && out->weight >= 0;
}

static bool
is_version(const struct choice *c, const char *version)
{
	return c->version.len == 0 || slice_eq_cstr(c->version, version);
}

bool
negotiate_openmetrics(struct slice accept)
{
	struct choice c;
	int openmetrics = 0, text = 0;

	while (accept.ptr != NULL) {
		if (!next_choice(&accept, &c))
			continue;
		if (slice_eq_nocase(c.name, "application/openmetrics-text") &&
		    is_version(&c, "1.0.0") && c.weight > openmetrics)
			openmetrics = c.weight;
		if (slice_eq_nocase(c.name, "text/plain") && is_version(&c, "0.0.4") &&
		    c.weight > text)
			text = c.weight;
	}
	return openmetrics > 0 && openmetrics >= text;
}

bool
negotiate_gzip(struct slice accept_encoding)
{
	struct choice c;
	int named = -1, star = 0;

	while (accept_encoding.ptr != NULL) {
		if (!next_choice(&accept_encoding, &c))
			continue;
		if (slice_eq_nocase(c.name, "gzip") || slice_eq_nocase(c.name, "x-gzip"))
			named = c.weight;
		else if (slice_eq_cstr(c.name, "*"))
			star = c.weight;
	}
	return named >= 0 ? named > 0 : star > 0;
}
