/*
 * Words of the route table: the method names of RFC 9110 §9 and RFC 5789.
 *
 * The rows themselves are built elsewhere, by the front matter and by the
 * built-in handlers; here is only what every reader of a row needs.
 */
#include "http/endpoint.h"

static const char *const names[HTTP_METHOD__COUNT] = {
	[HTTP_GET] = "GET",
	[HTTP_HEAD] = "HEAD",
	[HTTP_OPTIONS] = "OPTIONS",
	[HTTP_POST] = "POST",
	[HTTP_PUT] = "PUT",
	[HTTP_PATCH] = "PATCH",
	[HTTP_DELETE] = "DELETE",
};

const char *
http_method_name(enum http_method m)
{
	return names[m];
}

bool
http_method_parse(struct slice word, enum http_method *out)
{
	for (enum http_method m = HTTP_GET; m < HTTP_METHOD__COUNT; m++) {
		if (slice_eq_cstr(word, names[m])) { /* methods are case-sensitive */
			*out = m;
			return true;
		}
	}
	return false;
}
