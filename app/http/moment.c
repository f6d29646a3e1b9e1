/*
 * Dates and timestamps: a cursor over the text, and a calendar.
 *
 * An offset moves a moment by less than a day, so one step to the day before or
 * after is all the arithmetic there is.
 */
#include "http/moment.h"

#include <stdbool.h>
#include <string.h>

static const char not_a_day[] = " in the calendar";
static const char not_an_hour[] = " on the clock (00:00:00 to 23:59:59)";

struct moment {
	int year, month, day;
	int minute; /* of the day */
	int second;
};

/* Takes exactly ${n} digits off the front. */
static bool
take_digits(struct slice *s, size_t n, int *out)
{
	*out = 0;
	if (s->len < n)
		return false;
	for (; n > 0; n--, s->ptr++, s->len--) {
		if (*s->ptr < '0' || *s->ptr > '9')
			return false;
		*out = *out * 10 + (*s->ptr - '0');
	}
	return true;
}

/* Takes one byte off the front, when it is one of ${set}. */
static bool
take_one_of(struct slice *s, const char *set, char *out)
{
	for (; s->len > 0 && *set != '\0'; set++) {
		if (*s->ptr != *set)
			continue;
		*out = *set;
		s->ptr++;
		s->len--;
		return true;
	}
	return false;
}

static bool
take(struct slice *s, const char *set)
{
	char c;

	return take_one_of(s, set, &c);
}

static int
days_in(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return month == 2 && leap ? 29 : days[month - 1];
}

static enum err
take_date(struct slice *s, struct moment *m, const char **why_out)
{
	if (!take_digits(s, 4, &m->year) || !take(s, "-") || !take_digits(s, 2, &m->month) ||
	    !take(s, "-") || !take_digits(s, 2, &m->day))
		return ERR_INVALID;
	if (m->year >= 1 && m->month >= 1 && m->month <= 12 && m->day >= 1 &&
	    m->day <= days_in(m->year, m->month))
		return ERR_OK;
	*why_out = not_a_day;
	return ERR_INVALID;
}

enum err
moment_check_date(struct slice s, const char **why_out)
{
	struct moment m;
	enum err rc;

	*why_out = NULL;
	rc = take_date(&s, &m, why_out);
	return rc == ERR_OK && s.len == 0 ? ERR_OK : ERR_INVALID;
}

static bool
take_clock(struct slice *s, struct moment *m, const char **why_out)
{
	int hour, minute;

	if (!take_digits(s, 2, &hour) || !take(s, ":") || !take_digits(s, 2, &minute) ||
	    !take(s, ":") || !take_digits(s, 2, &m->second))
		return false;
	if (hour > 23 || minute > 59 || m->second > 59) {
		*why_out = not_an_hour;
		return false;
	}
	m->minute = hour * 60 + minute;
	return true;
}

/* Takes [.digits] and leaves its first six, without trailing zeros; empty when nothing is left. */
static bool
take_fraction(struct slice *s, struct slice *out)
{
	int digit;

	*out = (struct slice){ s->ptr, 0 };
	if (!take(s, "."))
		return true;
	out->ptr = s->ptr;
	while (take_digits(s, 1, &digit))
		out->len++;
	if (out->len == 0)
		return false;
	if (out->len > 6)
		out->len = 6;
	while (out->len > 0 && out->ptr[out->len - 1] == '0')
		out->len--;
	return true;
}

/* Z, or +HH:MM, or -HH:MM: how many minutes the clock is ahead of UTC. */
static bool
take_offset(struct slice *s, int *minutes_out, const char **why_out)
{
	int hours, minutes;
	char sign;

	*minutes_out = 0;
	if (take(s, "Zz"))
		return true;
	if (!take_one_of(s, "+-", &sign)) {
		if (s->len == 0)
			*why_out = ", with its offset from UTC";
		else if (*s->ptr == ' ')
			*why_out = " (in a query, + is written %2B)";
		return false;
	}
	if (!take_digits(s, 2, &hours) || !take(s, ":") || !take_digits(s, 2, &minutes) ||
	    hours > 23 || minutes > 59)
		return false;
	*minutes_out = (sign == '-' ? -1 : 1) * (hours * 60 + minutes);
	return true;
}

static void
day_before(struct moment *m)
{
	if (--m->day > 0)
		return;
	if (--m->month == 0) {
		m->month = 12;
		m->year--;
	}
	m->day = days_in(m->year, m->month);
}

static void
day_after(struct moment *m)
{
	if (++m->day <= days_in(m->year, m->month))
		return;
	m->day = 1;
	if (++m->month > 12) {
		m->month = 1;
		m->year++;
	}
}

static void
move_to_utc(struct moment *m, int offset_minutes)
{
	enum { DAY = 24 * 60 };

	m->minute -= offset_minutes;
	if (m->minute < 0) {
		m->minute += DAY;
		day_before(m);
	} else if (m->minute >= DAY) {
		m->minute -= DAY;
		day_after(m);
	}
}

/* ${width} digits and ${after}; returns the place behind them. */
static char *
put(char *at, int value, int width, char after)
{
	for (int i = width - 1; i >= 0; i--, value /= 10)
		at[i] = (char)('0' + value % 10);
	at[width] = after;
	return at + width + 1;
}

static void
write_moment(const struct moment *m, struct slice fraction, char out[MOMENT_BYTES])
{
	char *at = put(out, m->year, 4, '-');

	at = put(at, m->month, 2, '-');
	at = put(at, m->day, 2, 'T');
	at = put(at, m->minute / 60, 2, ':');
	at = put(at, m->minute % 60, 2, ':');
	at = put(at, m->second, 2, fraction.len > 0 ? '.' : 'Z');
	if (fraction.len > 0) {
		memcpy(at, fraction.ptr, fraction.len);
		at += fraction.len;
		*at++ = 'Z';
	}
	*at = '\0';
}

enum err
moment_to_utc(struct slice s, char out[MOMENT_BYTES], const char **why_out)
{
	struct slice fraction;
	struct moment m;
	int offset;

	*why_out = NULL;
	if (take_date(&s, &m, why_out) != ERR_OK || !take(&s, "Tt ") ||
	    !take_clock(&s, &m, why_out) || !take_fraction(&s, &fraction) ||
	    !take_offset(&s, &offset, why_out) || s.len != 0)
		return ERR_INVALID;
	move_to_utc(&m, offset);
	if (m.year < 1 || m.year > 9999) {
		*why_out = not_a_day;
		return ERR_INVALID;
	}
	write_moment(&m, fraction, out);
	return ERR_OK;
}
