/*
 * `limit`: how many, in which time, counted by whom.
 *
 * What the limiter could not keep is refused here: a bucket that overflows its
 * clock would admit everything.
 */
#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/units.h"
#include "policy/limiter.h"
#include "service/catalog.h"
#include "service/draft.h"

enum { MAX_QUOTA = 1000000000 };

static const int64_t longest_ms = INT64_C(366) * 24 * 3600 * 1000;

static const char rate_form[] = "N/s, N/m, N/h, N/d or N/DURATION, such as 100/s or 5/10s";

/* The window behind the slash: a unit alone is one of it. */
static bool
read_window(struct slice text, int64_t *out)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = { { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
	const char last = text.len == 0 ? '0' : text.ptr[text.len - 1];

	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (slice_eq_cstr(text, units[i].unit)) {
			*out = units[i].ms;
			return true;
		}
	}
	return (last < '0' || last > '9') && units_duration_ms(text, 1, out) == ERR_OK &&
	       *out >= 1 && *out <= longest_ms;
}

static void
read_rate(struct draft *d, struct slice text, struct limit_rule *r)
{
	struct slice rest = text;
	int64_t n = 0, window_ms;

	if (slice_to_i64(slice_cut(&rest, '/'), &n) != ERR_OK || n < 1 || n > MAX_QUOTA ||
	    rest.ptr == NULL || !read_window(rest, &window_ms)) {
		DRAFT_FAULT(d, "limit: \"%.*s\", expected %s (N up to %d)", SHOWN(text), rate_form,
		    MAX_QUOTA);
		return;
	}
	r->quota = (uint64_t)n;
	r->window_ms = window_ms;
}

/* The next word; blanks and commas stand between words. */
static struct slice
next_word(struct slice *rest)
{
	struct slice word;

	while (rest->len > 0 && strchr(" \t,", *rest->ptr) != NULL) {
		rest->ptr++;
		rest->len--;
	}
	word = (struct slice){ rest->ptr, 0 };
	while (word.len < rest->len && strchr(" \t,", word.ptr[word.len]) == NULL)
		word.len++;
	rest->ptr += word.len;
	rest->len -= word.len;
	return word;
}

struct limit_seen {
	bool by, burst, algorithm;
};

static bool
limit_by(struct limit_rule *r, struct slice word)
{
	if (slice_eq_cstr(word, "client"))
		r->by = LIMIT_BY_CLIENT;
	else if (slice_eq_cstr(word, "tenant"))
		r->by = LIMIT_BY_TENANT;
	else if (slice_eq_cstr(word, "ip"))
		r->by = LIMIT_BY_IP;
	else
		return false;
	return true;
}

static bool
limit_burst(struct limit_rule *r, struct slice word)
{
	int64_t n;

	if (slice_to_i64(word, &n) != ERR_OK || n < 1 || n > MAX_QUOTA)
		return false;
	r->burst = (uint64_t)n;
	return true;
}

/* One option of a limit line; its argument, where it has one, is taken off ${rest}. */
static void
limit_option(struct draft *d, struct limit_rule *r, struct slice word, struct slice *rest,
    struct limit_seen *seen)
{
	struct slice arg = { 0 };
	bool twice = false, good = true;

	if (slice_eq_cstr(word, "by")) {
		arg = next_word(rest);
		good = limit_by(r, arg);
		twice = seen->by;
		seen->by = true;
	} else if (slice_eq_cstr(word, "burst")) {
		arg = next_word(rest);
		good = limit_burst(r, arg);
		twice = seen->burst;
		seen->burst = true;
	} else if (slice_eq_cstr(word, "sliding-window") || slice_eq_cstr(word, "token-bucket")) {
		r->algorithm = *word.ptr == 's' ? LIMIT_SLIDING_WINDOW : LIMIT_TOKEN_BUCKET;
		twice = seen->algorithm;
		seen->algorithm = true;
	} else if (slice_eq_cstr(word, "observe")) {
		r->observe = true;
	} else {
		good = false;
	}
	if (!good)
		DRAFT_FAULT(d,
		    "limit: \"%.*s%s%.*s\", expected by client|tenant|ip, burst N (1 to %d), "
		    "sliding-window, token-bucket or observe",
		    SHOWN(word), arg.ptr == NULL ? "" : " ", SHOWN(arg), MAX_QUOTA);
	if (twice)
		DRAFT_FAULT(d, "limit: \"%.*s\" a second time, expected it once", SHOWN(word));
}

/* What no single word shows. */
static void
limit_check(struct draft *d, struct limit_rule *r, const struct limit_seen *seen)
{
	/* Only a bucket has a size, so a line that gives one means a bucket. */
	if (seen->burst && !seen->algorithm)
		r->algorithm = LIMIT_TOKEN_BUCKET;
	if (seen->burst && r->algorithm == LIMIT_SLIDING_WINDOW)
		DRAFT_FAULT(d, "limit: burst with sliding-window, expected it with token-bucket");
	if (r->algorithm == LIMIT_SLIDING_WINDOW && r->quota > LIMITER_WINDOW_MAX)
		DRAFT_FAULT(d, "limit: %" PRIu64 " in a sliding window, expected at most %d",
		    r->quota, LIMITER_WINDOW_MAX);
	if (!seen->burst)
		r->burst = r->quota;
	if ((double)r->quota > (double)r->window_ms * 1e6)
		DRAFT_FAULT(
		    d, "limit: more than one in a nanosecond, expected fewer or a longer time");
	if ((double)r->burst / (double)r->quota * (double)r->window_ms > (double)longest_ms)
		DRAFT_FAULT(
		    d, "limit: a bucket that takes over 366d to fill, expected a smaller burst");
}

static bool
limit_name_is_free(const struct endpoint *e, struct slice name)
{
	for (size_t i = 0; i < e->limit_count; i++)
		if (slice_eq(e->limits[i].name, name))
			return false;
	return true;
}

struct limit_rule
directive_default_rule(const struct catalog_options *o)
{
	return (struct limit_rule){
		.name = SLICE("default"),
		.quota = o->limit_quota,
		.window_ms = o->limit_window_ms,
		.burst = o->limit_quota,
		.algorithm = o->limit_algorithm,
	};
}

void
directive_limit(struct draft *d)
{
	struct limit_rule r = directive_default_rule(d->defaults);
	struct limit_seen seen = { 0 };
	struct slice rest = d->value;

	if (d->name.ptr != NULL)
		r.name = d->name;
	if (d->e->limit_count == ENDPOINT_MAX_LIMITS) {
		DRAFT_FAULT(d, "limit: one too many, expected at most %d", ENDPOINT_MAX_LIMITS);
		return;
	}
	if (!limit_name_is_free(d->e, r.name))
		DRAFT_FAULT(d,
		    "limit: a second one named \"%.*s\", expected `limit NAME:` with another name",
		    SHOWN(r.name));
	read_rate(d, next_word(&rest), &r);
	for (;;) {
		const struct slice word = next_word(&rest);

		if (word.len == 0)
			break;
		limit_option(d, &r, word, &rest, &seen);
	}
	limit_check(d, &r, &seen);
	d->limits[d->e->limit_count++] = r;
}

uint64_t
directive_limit_seed(struct slice endpoint, const struct limit_rule *r)
{
	const uint64_t figures[] = { hash64(0, endpoint.ptr, endpoint.len),
		hash64(0, r->name.ptr, r->name.len), r->quota, (uint64_t)r->window_ms, r->burst,
		(uint64_t)r->by, (uint64_t)r->algorithm };

	return hash64(0, figures, sizeof figures);
}
