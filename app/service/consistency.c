/*
 * The tokens of X-Weir-Consistency and its cookie.
 */
#include "service/consistency.h"

static enum err
add(struct consistency *c, struct slice token)
{
	if (c->count == CONSISTENCY_MAX_EVENTS || event_id_parse(token, c->ids[c->count]) != ERR_OK)
		return ERR_INVALID;
	c->count++;
	return ERR_OK;
}

static void
take_cookies(struct consistency *c, struct slice cookies)
{
	while (cookies.ptr != NULL) {
		struct slice value = slice_cut(&cookies, ';');
		const struct slice name = slice_trim(slice_cut(&value, '='));

		if (slice_eq_cstr(name, CONSISTENCY_COOKIE))
			(void)add(c, slice_trim(value));
	}
}

enum err
consistency_parse(struct slice header, struct slice cookies, struct consistency *out)
{
	enum err rc = ERR_OK;

	*out = (struct consistency){ .count = 0 };
	while (header.ptr != NULL && rc == ERR_OK)
		rc = add(out, slice_trim(slice_cut(&header, ',')));
	while (rc == ERR_OK && cookies.ptr != NULL)
		take_cookies(out, slice_cut(&cookies, ',')); /* several lines are joined so */
	return rc;
}
