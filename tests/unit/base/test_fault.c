/* Goal: all faults are said, one line each, harmlessly, and a slip of the finger is recognized. */
#include "base/fault.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/unit.h"

static char printed[2 << 20];

/* What fault_print() writes. */
static const char *
print(const struct fault_list *l)
{
	FILE *f = tmpfile();
	size_t n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fault_print(l, fileno(f));
	rewind(f);
	n = fread(printed, 1, sizeof printed - 1, f);
	printed[n] = '\0';
	(void)fclose(f);
	return printed;
}

static void
faults_are_printed_in_order_one_line_each(void)
{
	struct fault_list l;

	fault_init(&l);
	CU_ASSERT_STRING_EQUAL(print(&l), "");
	fault_add(&l, "a.sql", 3, "unknown directive %s", "chace");
	fault_warn(&l, "b.sql", 1, "odd");
	fault_add(&l, "DB_TIMEOUT", 0, "expected a duration");
	CU_ASSERT_STRING_EQUAL(print(&l), "a.sql:3: unknown directive chace\n"
					  "b.sql:1: warning: odd\n"
					  "DB_TIMEOUT: expected a duration\n");
	CU_ASSERT_EQUAL(l.count, 3);
	CU_ASSERT_EQUAL(l.errors, 2);
	CU_ASSERT_TRUE(l.items[1].warning);
	fault_free(&l);
	CU_ASSERT_EQUAL(l.count, 0);
}

static void
names_and_texts_are_copied(void)
{
	char file[] = "a.sql", text[] = "bad";
	struct fault_list l;

	fault_init(&l);
	fault_add(&l, file, 1, "%s", text);
	file[0] = text[0] = 'X';
	CU_ASSERT_STRING_EQUAL(print(&l), "a.sql:1: bad\n");
	fault_free(&l);
}

static void
control_bytes_never_reach_the_terminal(void)
{
	struct fault_list l;

	fault_init(&l);
	fault_add(&l, "a\n.sql", 1, "%s", "x\ny\x1b[2J\x7f\r\t\xc3\xa9");
	CU_ASSERT_STRING_EQUAL(print(&l), "a?.sql:1: x?y?[2J???\xc3\xa9\n");
	fault_free(&l);
}

static void
a_flood_of_faults_is_counted_and_said_to_be_more(void)
{
	struct fault_list l;
	const char *end;

	fault_init(&l);
	for (unsigned i = 0; i < 20000; i++)
		fault_add(&l, "a.sql", i + 1, "%0500d", 7);
	CU_ASSERT_EQUAL(l.errors, 20000);
	CU_ASSERT_TRUE(l.count > 100 && l.count < 20000);
	end = strstr(print(&l), "\nand more: mend these first\n");
	CU_ASSERT_PTR_NOT_NULL_FATAL(end);
	CU_ASSERT_STRING_EQUAL(end, "\nand more: mend these first\n");
	fault_free(&l);
}

static void
a_long_text_is_cut(void)
{
	struct fault_list l;

	fault_init(&l);
	fault_add(&l, "a", 1, "%05000d", 7);
	CU_ASSERT_EQUAL(strlen(l.items[0].text), 1023);
	fault_free(&l);
}

static void
the_nearest_known_word_is_found(void)
{
	static const char *const known[] = { "cache", "limit", "tags", "returns", "auth",
		"max-rows", NULL };

	CU_ASSERT_STRING_EQUAL(fault_nearest("chace", known), "cache");
	CU_ASSERT_STRING_EQUAL(fault_nearest("limits", known), "limit");
	CU_ASSERT_STRING_EQUAL(fault_nearest("tag", known), "tags");
	CU_ASSERT_STRING_EQUAL(fault_nearest("maxrows", known), "max-rows");
	CU_ASSERT_STRING_EQUAL(fault_nearest("retrun", known), "returns");
	CU_ASSERT_STRING_EQUAL(fault_nearest("auth", known), "auth");
}

static void
a_word_far_from_all_has_no_nearest(void)
{
	static const char *const known[] = { "cache", "limit", "a", NULL }, *const none[] = {
		NULL
	};
	char word[300];

	CU_ASSERT_PTR_NULL(fault_nearest("frobnicate", known));
	CU_ASSERT_PTR_NULL(fault_nearest("x", known));
	CU_ASSERT_PTR_NULL(fault_nearest("", known));
	CU_ASSERT_PTR_NULL(fault_nearest("cache", none));
	memset(word, 'c', sizeof word - 1);
	word[sizeof word - 1] = '\0';
	CU_ASSERT_PTR_NULL(fault_nearest(word, known));
	word[64] = '\0';
	CU_ASSERT_PTR_NULL(fault_nearest(word, known));
}

UNIT_SUITE(fault, TEST(faults_are_printed_in_order_one_line_each), TEST(names_and_texts_are_copied),
    TEST(control_bytes_never_reach_the_terminal),
    TEST(a_flood_of_faults_is_counted_and_said_to_be_more), TEST(a_long_text_is_cut),
    TEST(the_nearest_known_word_is_found), TEST(a_word_far_from_all_has_no_nearest));
