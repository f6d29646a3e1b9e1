#ifndef TESTS_UNIT_SERVICE_KEY_HOUSE_H
#define TESTS_UNIT_SERVICE_KEY_HOUSE_H

#include <string.h>

#include "service/api_key.h"
#include "service/ledger_driver.h"

/*
 * A write database that is an order to a fake: one API key, and what the next look-ups say.
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
key_house_connect(const struct writer_options *o, int64_t deadline_ms, void **out)
{
	(void)o;
	(void)deadline_ms;
	*out = &key_house;
	return ERR_OK;
}

static inline void
key_house_disconnect(void *connection)
{
	(void)connection;
}

static inline enum err
key_house_find(void *connection, struct slice id, int64_t deadline_ms, struct api_key_found *out)
{
	struct key_house *h = connection;
	uint8_t digest[DIGEST_BYTES];

	h->asked++;
	h->deadline_ms = deadline_ms;
	if (h->meanwhile != NULL)
		h->meanwhile(h->ctx);
	if (h->fails != ERR_OK)
		return h->fails;
	if (!slice_eq_cstr(id, h->id))
		return ERR_NOT_FOUND;
	api_key_digest(slice_of(h->key), digest);
	return api_key_found_fill(out, (struct slice){ (const char *)digest, sizeof digest },
	    slice_of(h->tenant), h->revoked);
}

/* With a good key of ${tenant}.  NULL: no memory. */
static inline struct ledger *
key_house_make(const char *tenant)
{
	static const struct ledger_driver driver = {
		.open = key_house_connect, .close = key_house_disconnect, .key = key_house_find
	};
	struct ledger *l = NULL;

	key_house = (struct key_house){ .tenant = tenant };
	api_key_make(key_house.key, key_house.id);
	(void)ledger_open_driver(&driver, NULL, 1, &l);
	return l;
}

#endif
