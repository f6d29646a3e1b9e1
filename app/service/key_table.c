/*
 * The table of API keys, whatever database holds it: the URL chooses the driver.
 */
#include "service/key_table.h"

#include <stdlib.h>
#include <string.h>

#include "service/key_table_driver.h"

struct key_table {
	const struct key_table_driver *driver;
	void *state;
};

static const struct key_table_driver *const drivers[] = { &key_table_sqlite };

enum err
key_table_open_driver(const struct key_table_driver *driver, const struct key_table_options *o,
    struct key_table **out)
{
	struct key_table *t = calloc(1, sizeof *t);
	enum err rc;

	if (t == NULL)
		return ERR_NOMEM;
	t->driver = driver;
	rc = driver->open(o, &t->state);
	if (rc == ERR_OK)
		*out = t;
	else
		free(t);
	return rc;
}

enum err
key_table_open(const struct key_table_options *o, struct key_table **out)
{
	for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++) {
		const size_t n = strlen(drivers[i]->scheme);

		if (strncmp(o->url, drivers[i]->scheme, n) == 0 && o->url[n] == ':')
			return key_table_open_driver(drivers[i], o, out);
	}
	return ERR_INVALID;
}

void
key_table_close(struct key_table **tp)
{
	struct key_table *t = *tp;

	if (t == NULL)
		return;
	*tp = NULL;
	t->driver->close(t->state);
	free(t);
}

void
key_table_expire(struct key_table *t, int64_t now_ms)
{
	t->driver->expire(t->state, now_ms);
}

enum err
key_table_find(struct key_table *t, struct slice id, int64_t deadline_ms, struct key_found *out)
{
	return t->driver->find(t->state, id, deadline_ms, out);
}

enum err
key_table_list(struct key_table *t, int64_t deadline_ms, key_row_fn *fn, void *ctx)
{
	return t->driver->list(t->state, deadline_ms, fn, ctx);
}

enum err
key_table_add(struct key_table *t, const struct key_row *row, const uint8_t digest[DIGEST_BYTES],
    int64_t deadline_ms)
{
	return t->driver->add(t->state, row, digest, deadline_ms);
}

enum err
key_table_revoke(struct key_table *t, struct slice id, struct slice now, int64_t deadline_ms)
{
	return t->driver->revoke(t->state, id, now, deadline_ms);
}

enum err
key_found_tenant(struct key_found *out, struct slice tenant)
{
	if (tenant.len == 0 || tenant.len > sizeof out->tenant || !utf8_valid(tenant, NULL))
		return ERR_NOT_FOUND;
	memcpy(out->tenant, tenant.ptr, tenant.len);
	out->tenant_len = tenant.len;
	return ERR_OK;
}
