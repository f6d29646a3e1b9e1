/*
 * The two clocks, and the one way in which a moment is written.
 *
 * The calendar is computed here and not by gmtime_r(), which takes libc's
 * time zone lock: every log line of every thread would meet there.
 */
#include "base/clock.h"

#include <string.h>
#include <time.h>

enum {
	SECONDS_PER_DAY = 86400,
	DAYS_PER_400_YEARS = 146097,
	DAYS_TO_1970 = 719468, /* from 0000-03-01, the first day after a leap day */
	US_PER_SECOND = 1000000,
};

/* The first and last moment that four digits of a year can write. */
static const int64_t first_us = -62167219200 * US_PER_SECOND;
static const int64_t last_us = 253402300799 * US_PER_SECOND + 999999;

int64_t
clock_mono_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail with this clock */
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t
clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000;
}

int64_t
clock_wall_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * US_PER_SECOND + ts.tv_nsec / 1000;
}

struct date {
	unsigned year, month, day;
};

/*
 * Years are counted from March, so that the leap day is the last of its year
 * and a month's first day is (153 * month + 2) / 5: five months have 153 days.
 */
static struct date
date_of(int64_t days)
{
	const int64_t n = days + DAYS_TO_1970 + DAYS_PER_400_YEARS; /* never negative */
	const unsigned era_day = (unsigned)(n % DAYS_PER_400_YEARS);
	const unsigned era_year =
	    (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
	const unsigned year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
	const unsigned month = (5 * year_day + 2) / 153; /* 0 is March */
	const int64_t year = (n / DAYS_PER_400_YEARS - 1) * 400 + era_year + (month >= 10);

	return (struct date){
		.year = (unsigned)year,
		.month = month < 10 ? month + 3 : month - 9,
		.day = year_day - (153 * month + 2) / 5 + 1,
	};
}

/* Writes ${digits} digits of ${n} and returns the place behind them. */
static char *
put(char *at, unsigned n, unsigned digits, char after)
{
	for (unsigned i = digits; i > 0; i--, n /= 10)
		at[i - 1] = (char)('0' + n % 10);
	at[digits] = after;
	return at + digits + 1;
}

char *
clock_rfc3339(int64_t wall_us, char out[CLOCK_RFC3339_BYTES])
{
	const int64_t us = wall_us < first_us ? first_us : wall_us > last_us ? last_us : wall_us;
	const int64_t shifted = us - first_us; /* since year 0, so that / and % round down */
	const int64_t seconds = shifted / US_PER_SECOND;
	const unsigned rest = (unsigned)(seconds % SECONDS_PER_DAY);
	const struct date d =
	    date_of(seconds / SECONDS_PER_DAY + first_us / US_PER_SECOND / SECONDS_PER_DAY);
	char *at = out;

	at = put(at, d.year, 4, '-');
	at = put(at, d.month, 2, '-');
	at = put(at, d.day, 2, 'T');
	at = put(at, rest / 3600, 2, ':');
	at = put(at, rest / 60 % 60, 2, ':');
	at = put(at, rest % 60, 2, '.');
	at = put(at, (unsigned)(shifted % US_PER_SECOND), 6, 'Z');
	*at = '\0';
	return out;
}

/* The inverse of date_of(); of what is no date, a number of days all the same. */
static int64_t
days_of(struct date d)
{
	const int64_t year = (int64_t)d.year + 400 - (d.month < 3); /* never negative */
	const int64_t month = d.month < 3 ? (int64_t)d.month + 9 : (int64_t)d.month - 3;

	return 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + d.day - 1 -
	       DAYS_TO_1970 - DAYS_PER_400_YEARS;
}

static bool
has_shape(const char *text, const char *shape)
{
	for (; *shape != '\0'; shape++, text++)
		if (*shape == '0' ? *text < '0' || *text > '9' : *text != *shape)
			return false;
	return true;
}

static unsigned
number(const char *at, unsigned digits)
{
	unsigned n = 0;

	for (unsigned i = 0; i < digits; i++)
		n = 10 * n + (unsigned)(at[i] - '0');
	return n;
}

bool
clock_rfc3339_parse(const char *text, size_t len, int64_t *wall_us_out)
{
	char again[CLOCK_RFC3339_BYTES];
	struct date d;
	int64_t seconds;

	if (len != CLOCK_RFC3339_BYTES - 1 || !has_shape(text, "0000-00-00T00:00:00.000000Z"))
		return false;
	d = (struct date){ number(text, 4), number(text + 5, 2), number(text + 8, 2) };
	seconds = days_of(d) * SECONDS_PER_DAY + number(text + 11, 2) * 3600 +
		  number(text + 14, 2) * 60 + number(text + 17, 2);
	*wall_us_out = seconds * US_PER_SECOND + number(text + 20, 6);
	/* A day or an hour that does not exist comes out as another. */
	return memcmp(clock_rfc3339(*wall_us_out, again), text, len) == 0;
}
