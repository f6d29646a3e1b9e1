#ifndef TESTS_UNIT_HTTP_CHECK_H
#define TESTS_UNIT_HTTP_CHECK_H

#include <stdio.h>

#include "base/str.h"
#include "tests/support/unit.h"

/*
 * Checks for the rows of a table: a failure names its row, and shows both texts.
 */
#define CHECK_ROW(row, condition) check_row(__FILE__, __LINE__, row, #condition, condition)
/* ${want} NULL: the slice must be absent. */
#define CHECK_TEXT(row, got, want) check_text(__FILE__, __LINE__, row, got, want)

static inline void
check_row(const char *file, unsigned line, const char *row, const char *condition, bool good)
{
	char text[1024];

	(void)snprintf(text, sizeof text, "[%s] %s", row, condition);
	(void)CU_assertImplementation(good ? CU_TRUE : CU_FALSE, line, text, file, "", CU_FALSE);
}

static inline void
check_text(const char *file, unsigned line, const char *row, struct slice got, const char *want)
{
	const bool good = got.ptr == NULL ? want == NULL : want != NULL && slice_eq_cstr(got, want);
	char text[1024];

	(void)snprintf(text, sizeof text, "[%s] got %.*s, want %s", row,
	    got.ptr == NULL ? 6 : (int)got.len, got.ptr == NULL ? "absent" : got.ptr,
	    want == NULL ? "absent" : want);
	(void)CU_assertImplementation(good ? CU_TRUE : CU_FALSE, line, text, file, "", CU_FALSE);
}

#endif
