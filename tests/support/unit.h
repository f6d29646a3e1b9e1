#ifndef TESTS_SUPPORT_UNIT_H
#define TESTS_SUPPORT_UNIT_H

#include <CUnit/CUnit.h>

/*
 * One suite a file: the functions are the specification, so a name is a sentence.
 *
 *   UNIT_SUITE(limiter, TEST(a_refused_request_costs_nothing), TEST(...));
 *
 * Suites register themselves; unit.c has main(), runs all (or those named in argv) and ends with
 * "N passed, N failed" (tests, not assertions).  Scratch files go under unit_dir(), removed at the end.
 */
struct unit_suite {
	const char *name;
	CU_TestInfo *tests; /* ends with CU_TEST_INFO_NULL */
	struct unit_suite *next;
};

void unit_register(struct unit_suite *suite);
const char *unit_dir(void); /* a fresh folder of this process under build/ */

#define TEST(fn)                                                                                   \
	{                                                                                          \
#fn, fn                                                                            \
	}
#define UNIT_SUITE(id, ...)                                                                        \
	static CU_TestInfo id##_tests[] = { __VA_ARGS__, CU_TEST_INFO_NULL };                      \
	static struct unit_suite id##_suite = { #id, id##_tests, NULL };                           \
	__attribute__((constructor)) static void id##_register(void)                               \
	{                                                                                          \
		unit_register(&id##_suite);                                                        \
	}                                                                                          \
	_Static_assert(sizeof(id##_tests) > sizeof(CU_TestInfo), "a suite without tests")

#endif
