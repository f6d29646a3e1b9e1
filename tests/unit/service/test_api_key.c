/* Goal: a key has one form, 256 bits of secret, and one place in a request; two are none. */
#include "service/api_key.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

static char text[API_KEY_TEXT], id[API_KEY_ID_TEXT];
static struct slice key, key_id;
static const char *why;

/* The header that would be sent, in a buffer of its own length so that a sanitizer sees who reads past it. */
static enum err
sent(const char *authorization, const char *x_api_key)
{
	char *a = authorization == NULL ? NULL : strdup(authorization);
	char *x = x_api_key == NULL ? NULL : strdup(x_api_key);
	static char copy[2 * API_KEY_TEXT];
	enum err rc;

	key = key_id = (struct slice){ NULL, 0 };
	why = NULL;
	rc = api_key_sent(slice_of(a), slice_of(x), &key, &key_id, &why);
	if (rc == ERR_OK) {
		memcpy(copy, key.ptr, key.len);
		key.ptr = copy;
	}
	free(a);
	free(x);
	return rc;
}

static const char *
with(const char *before, const char *after)
{
	static char lines[2][400];
	static unsigned turn;
	char *line = lines[turn++ % 2];

	(void)snprintf(line, sizeof lines[0], "%s%s%s", before, text, after);
	return line;
}

static void
a_new_key_is_of_the_form_and_like_no_other(void)
{
	char other[API_KEY_TEXT], other_id[API_KEY_ID_TEXT];

	api_key_make(text, id);
	api_key_make(other, other_id);
	CU_ASSERT_EQUAL(strlen(text), API_KEY_TEXT - 1);
	CU_ASSERT_EQUAL(strncmp(text, "weir_", 5), 0);
	CU_ASSERT_EQUAL(api_key_parse(slice_of(text), &key_id), ERR_OK);
	CU_ASSERT_TRUE(slice_eq_cstr(key_id, id));
	CU_ASSERT_TRUE(api_key_is_id(key_id));
	CU_ASSERT_STRING_NOT_EQUAL(id, other_id);
	CU_ASSERT_STRING_NOT_EQUAL(strrchr(text, '_'), strrchr(other, '_'));
}

static void
anything_else_is_no_key(void)
{
	char bad[API_KEY_TEXT + 1];
	unsigned taken = 0;

	api_key_make(text, id);
	for (size_t i = 0; i < API_KEY_TEXT - 1;
	     i++) { /* each byte matters, and so does its case */
		(void)strcpy(bad, text);
		bad[i] = 'G';
		taken += api_key_parse(slice_of(bad), &key_id) == ERR_OK;
		taken += api_key_parse((struct slice){ text, i }, &key_id) == ERR_OK;
	}
	(void)snprintf(bad, sizeof bad, "%s0", text);
	taken += api_key_parse(slice_of(bad), &key_id) == ERR_OK;
	taken += api_key_parse((struct slice){ NULL, 0 }, &key_id) == ERR_OK;
	CU_ASSERT_EQUAL(taken, 0);
	CU_ASSERT_FALSE(api_key_is_id(SLICE("0123456789abcde")));
	CU_ASSERT_FALSE(api_key_is_id(SLICE("0123456789abcdeF")));
	CU_ASSERT_FALSE(api_key_is_id(SLICE("")));
}

static void
what_is_kept_is_the_digest_of_the_whole_key(void)
{
	uint8_t digest[DIGEST_BYTES], again[DIGEST_BYTES];

	api_key_make(text, id);
	api_key_digest(slice_of(text), digest);
	api_key_digest(slice_of(text), again);
	CU_ASSERT_TRUE(digest_equal(digest, again));
	text[6] = text[6] == '0' ? '1' : '0'; /* also of the id */
	api_key_digest(slice_of(text), again);
	CU_ASSERT_FALSE(digest_equal(digest, again));
}

static void
a_key_comes_as_bearer_or_in_a_header_of_its_own(void)
{
	api_key_make(text, id);
	CU_ASSERT_EQUAL(sent(NULL, NULL), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(sent(with("Bearer ", ""), NULL), ERR_OK);
	CU_ASSERT_EQUAL(memcmp(key.ptr, text, key.len), 0);
	CU_ASSERT_EQUAL(sent(with("bEARER   ", " "), NULL), ERR_OK);
	CU_ASSERT_EQUAL(sent(NULL, text), ERR_OK);
	CU_ASSERT_EQUAL(memcmp(key.ptr, text, key.len), 0);
	CU_ASSERT_EQUAL(sent(with("Bearer ", ""), text), ERR_OK);
}

static void
two_keys_are_none(void)
{
	char first[API_KEY_TEXT], first_id[API_KEY_ID_TEXT];

	api_key_make(first, first_id);
	api_key_make(text, id);
	CU_ASSERT_EQUAL(sent(with("Bearer ", ""), first), ERR_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "two different keys"));
	CU_ASSERT_EQUAL(sent(NULL, with(text, "")), ERR_INVALID); /* joined without a comma */
	CU_ASSERT_EQUAL(sent(NULL, with("", ", ")), ERR_INVALID);
	CU_ASSERT_EQUAL(sent(with("Bearer ", ", Bearer x"), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(sent(with("Basic dTpw, Bearer ", ""), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(sent(with("Bearer ", ", Basic dTpw"), NULL), ERR_INVALID);
}

static void
a_key_that_is_not_whole_is_no_key(void)
{
	api_key_make(text, id);
	CU_ASSERT_EQUAL(sent("Bearer", NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(sent("Bearer ", NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(sent(with("Bearer x ", ""), NULL), ERR_INVALID);
	CU_ASSERT_EQUAL(sent(NULL, "0123"), ERR_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "not an API key"));
	CU_ASSERT_EQUAL(sent("Bearer eyJhbGciOi.J9", text), ERR_INVALID);
}

static void
what_the_front_server_asks_for_is_no_key(void)
{
	api_key_make(text, id);
	CU_ASSERT_EQUAL(sent("Basic dXNlcjpwYXNz", NULL), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(sent("Digest username=\"u\", realm=\"r\"", NULL), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(sent("BearerX abc", NULL), ERR_NOT_FOUND);
	CU_ASSERT_EQUAL(sent("Basic dXNlcjpwYXNz", text), ERR_OK);
	CU_ASSERT_EQUAL(memcmp(key.ptr, text, key.len), 0);
}

UNIT_SUITE(api_key, TEST(a_new_key_is_of_the_form_and_like_no_other), TEST(anything_else_is_no_key),
    TEST(what_is_kept_is_the_digest_of_the_whole_key),
    TEST(a_key_comes_as_bearer_or_in_a_header_of_its_own), TEST(two_keys_are_none),
    TEST(a_key_that_is_not_whole_is_no_key), TEST(what_the_front_server_asks_for_is_no_key));
