/* Goal: a line of a .env file means one thing, or it is refused with its number and a reason. */
#include "base/dotenv.h"

#include <string.h>

#include "tests/support/unit.h"

/* What the parser said, as `line:NAME=value|` one after the other. */
static struct strbuf said;

static void
note(void *ctx, struct slice name, struct slice value, unsigned line)
{
	struct strbuf *b = ctx;

	strbuf_addf(b, "%u:", line);
	strbuf_add_slice(b, name);
	strbuf_add_char(b, '=');
	strbuf_add_slice(b, value);
	strbuf_add_char(b, '|');
}

static bool
means(struct slice text, const char *want)
{
	unsigned line;
	const char *why;
	bool ok;

	said = STRBUF_INIT(100000);
	ok = dotenv_parse(text, note, &said, &line, &why) == ERR_OK && why == NULL &&
	     slice_eq_cstr(strbuf_slice(&said), want);
	strbuf_free(&said);
	return ok;
}

static bool
refuses(struct slice text, unsigned want_line, const char *want)
{
	unsigned line = 0;
	const char *why = "";
	bool ok;

	said = STRBUF_INIT(100000);
	ok = dotenv_parse(text, note, &said, &line, &why) == ERR_INVALID && line == want_line &&
	     why != NULL && strcmp(why, want) == 0;
	strbuf_free(&said);
	return ok;
}

static void
blank_lines_and_comments_say_nothing(void)
{
	CU_ASSERT_TRUE(means((struct slice){ NULL, 0 }, ""));
	CU_ASSERT_TRUE(means(SLICE("\n  \n# A=1\n\t# B=2\r\n\r\n"), ""));
}

static void
names_and_bare_values_are_read_with_their_line(void)
{
	CU_ASSERT_TRUE(means(SLICE("A=1\n\n_b2=x y\nC="), "1:A=1|3:_b2=x y|4:C=|"));
	CU_ASSERT_TRUE(means(SLICE("A=1\r\nB=2\r\n"), "1:A=1|2:B=2|"));
	CU_ASSERT_TRUE(means(SLICE("  A= \t v \t "), "1:A=v|"));
	CU_ASSERT_TRUE(means(SLICE("A=b=c"), "1:A=b=c|"));
	CU_ASSERT_TRUE(means(SLICE("A=x\"y'z\\n$B"), "1:A=x\"y'z\\n$B|"));
}

static void
a_hash_begins_a_comment_only_after_a_blank(void)
{
	CU_ASSERT_TRUE(means(SLICE("A=v # c"), "1:A=v|"));
	CU_ASSERT_TRUE(means(SLICE("A=v\t#c"), "1:A=v|"));
	CU_ASSERT_TRUE(means(SLICE("A=v#c"), "1:A=v#c|"));
	CU_ASSERT_TRUE(means(SLICE("A=#c"), "1:A=#c|"));
	CU_ASSERT_TRUE(means(SLICE("A= # c"), "1:A=|"));
	CU_ASSERT_TRUE(means(SLICE("A='v' # c"), "1:A=v|"));
	CU_ASSERT_TRUE(means(SLICE("A=\"v # c\""), "1:A=v # c|"));
}

static void
export_in_front_is_allowed(void)
{
	CU_ASSERT_TRUE(means(SLICE("export A=1\nexport\t B=2"), "1:A=1|2:B=2|"));
	CU_ASSERT_TRUE(means(SLICE("export=1\nexported=2"), "1:export=1|2:exported=2|"));
	CU_ASSERT_TRUE(refuses(SLICE("export A"), 1, "expected NAME=value"));
	CU_ASSERT_TRUE(refuses(SLICE("export "), 1, "expected NAME=value"));
}

static void
single_quotes_keep_everything(void)
{
	CU_ASSERT_TRUE(means(SLICE("A=' \\n \"x\" $B '"), "1:A= \\n \"x\" $B |"));
	CU_ASSERT_TRUE(means(SLICE("A=''"), "1:A=|"));
}

static void
double_quotes_know_five_escapes(void)
{
	CU_ASSERT_TRUE(means(SLICE("A=\"a\\n\\t\\\"\\\\\\$b\""), "1:A=a\n\t\"\\$b|"));
	CU_ASSERT_TRUE(means(SLICE("A=\"$B it's\""), "1:A=$B it's|"));
	CU_ASSERT_TRUE(refuses(SLICE("A=\"\\x\""), 1, "unknown escape"));
	CU_ASSERT_TRUE(refuses(SLICE("A=\"\\r\""), 1, "unknown escape"));
	CU_ASSERT_TRUE(refuses(SLICE("A=\"\\\0\""), 1, "NUL byte"));
}

static void
a_quote_must_close_on_its_line_and_end_the_value(void)
{
	CU_ASSERT_TRUE(refuses(SLICE("A='x\nB=1"), 1, "quote not closed"));
	CU_ASSERT_TRUE(refuses(SLICE("B=1\nA=\"x"), 2, "quote not closed"));
	CU_ASSERT_TRUE(refuses(SLICE("A=\"x\\\""), 1, "quote not closed"));
	CU_ASSERT_TRUE(refuses(SLICE("A=\"x\\"), 1, "quote not closed"));
	CU_ASSERT_TRUE(refuses(SLICE("A='"), 1, "quote not closed"));
	CU_ASSERT_TRUE(refuses(SLICE("A='x'y"), 1, "text after the closing quote"));
	CU_ASSERT_TRUE(refuses(SLICE("A=\"x\"#c"), 1, "text after the closing quote"));
}

static void
anything_else_is_refused_with_its_line(void)
{
	static const char *const bad[] = { "A", "=1", "1A=2", "A B=1", "A =1", "A-B=1", "A.B=1",
		"\xef\xbb\277A=1", "export" };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_TRUE(refuses(slice_of(bad[i]), 1, "expected NAME=value"));
	CU_ASSERT_TRUE(refuses(SLICE("A=1\n\n#\nB"), 4, "expected NAME=value"));
	CU_ASSERT_TRUE(refuses(SLICE("A=x\0y"), 1, "NUL byte"));
}

static void
lines_before_the_bad_one_were_told(void)
{
	unsigned line;
	const char *why;

	said = STRBUF_INIT(1000);
	CU_ASSERT_EQUAL(
	    dotenv_parse(SLICE("A=1\nbad\nB=2"), note, &said, &line, &why), ERR_INVALID);
	CU_ASSERT_TRUE(slice_eq_cstr(strbuf_slice(&said), "1:A=1|"));
	strbuf_free(&said);
}

UNIT_SUITE(dotenv, TEST(blank_lines_and_comments_say_nothing),
    TEST(names_and_bare_values_are_read_with_their_line),
    TEST(a_hash_begins_a_comment_only_after_a_blank), TEST(export_in_front_is_allowed),
    TEST(single_quotes_keep_everything), TEST(double_quotes_know_five_escapes),
    TEST(a_quote_must_close_on_its_line_and_end_the_value),
    TEST(anything_else_is_refused_with_its_line), TEST(lines_before_the_bad_one_were_told));
