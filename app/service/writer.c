/*
 * What failures of the write database mean, whichever database it is; the
 * table is here.  The databases are next door, one a file.
 */
#include "service/writer.h"

#include <stdio.h>
#include <string.h>

/* A whole code before its class. */
static const struct {
	char state[6];
	enum writer_verdict verdict;
} verdicts[] = {
	{ "57014",
	    WRITER_UNCLEAR }, /* cancelled or too slow: the statement's fault, or the load's */
	{ "25006", WRITER_BAD_MOMENT }, /* read only: on a standby */
	{ "21", WRITER_BAD_EVENT },
	{ "22", WRITER_BAD_EVENT },
	{ "23", WRITER_BAD_EVENT },
	{ "39", WRITER_BAD_EVENT },
	{ "44", WRITER_BAD_EVENT },
	{ "54", WRITER_BAD_EVENT },
	{ "P0", WRITER_BAD_EVENT },
	{ "08", WRITER_BAD_MOMENT },
	{ "40", WRITER_BAD_MOMENT },
	{ "53", WRITER_BAD_MOMENT },
	{ "55", WRITER_BAD_MOMENT },
	{ "57", WRITER_BAD_MOMENT },
	{ "58", WRITER_BAD_MOMENT },
	{ "0A", WRITER_BAD_DEPLOYMENT },
	{ "26", WRITER_BAD_DEPLOYMENT },
	{ "28", WRITER_BAD_DEPLOYMENT },
	{ "2F", WRITER_BAD_DEPLOYMENT },
	{ "3F", WRITER_BAD_DEPLOYMENT },
	{ "42", WRITER_BAD_DEPLOYMENT },
	{ "00", WRITER_OK },
};

enum writer_verdict
writer_verdict_of(const char *sqlstate)
{
	for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++)
		if (strncmp(sqlstate, verdicts[i].state, strlen(verdicts[i].state)) == 0)
			return verdicts[i].verdict;
	return WRITER_UNCLEAR;
}

void
writer_failure_set(struct writer_failure *why, enum writer_verdict verdict, const char *sqlstate,
    const char *message)
{
	*why = (struct writer_failure){ .verdict = verdict };
	(void)snprintf(why->sqlstate, sizeof why->sqlstate, "%s", sqlstate);
	(void)snprintf(why->message, sizeof why->message, "%s", message);
}
