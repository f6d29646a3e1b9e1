#ifndef TESTS_UNIT_SERVICE_KEY_HOUSE_H
#define TESTS_UNIT_SERVICE_KEY_HOUSE_H

#include <string.h>

#include "service/api_key.h"
#include "service/key_table_driver.h"

/*
 * A table of API keys that is an order to a fake: one key, and what the next look-ups say.
 */
struct key_house {
	char key[API_KEY_TEXT], id[API_KEY_ID_TEXT];
	const char *tenant;
	bool revoked;
	enum err fails; /* instead of an answer */
	unsigned asked;
	int64_t deadline_ms;	      /* of the last question, */
	void (*meanwhile)(void *ctx); /* and what happens while it is on its way */
	void *ctx;
};

static struct key_house key_house;

static inline enum err
key_house_open(const struct key_table_options *o, void **state_out)
{
	(void)o;
	*state_out = &key_house;
	return ERR_OK;
}

static inline void
key_house_close(void *state)
{
	(void)state;
}

static inline void
key_house_expire(void *state, int64_t now_ms)
{
	(void)state;
	(void)now_ms;
}

static inline enum err
key_house_find(void *state, struct slice id, int64_t deadline_ms, struct key_found *out)
{
	struct key_house *h = state;

	h->asked++;
	h->deadline_ms = deadline_ms;
	if (h->meanwhile != NULL)
		h->meanwhile(h->ctx);
	if (h->fails != ERR_OK)
		return h->fails;
	if (!slice_eq_cstr(id, h->id))
		return ERR_NOT_FOUND;
	api_key_digest(slice_of(h->key), out->digest);
	out->revoked = h->revoked;
	return key_found_tenant(out, slice_of(h->tenant));
}

static const struct key_table_driver key_house_driver = { .scheme = "fake",
	.open = key_house_open,
	.close = key_house_close,
	.expire = key_house_expire,
	.find = key_house_find };

/* A good key of ${tenant}. */
static inline struct key_table *
key_house_make(const char *tenant)
{
	struct key_table *table = NULL;

	key_house = (struct key_house){ .tenant = tenant };
	api_key_make(key_house.key, key_house.id);
	if (key_table_open_driver(
		&key_house_driver, &(struct key_table_options){ .url = "fake:" }, &table) != ERR_OK)
		return NULL;
	return table;
}

#endif
