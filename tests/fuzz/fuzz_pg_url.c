/*
 * Goal: no URL of a database crashes its reader; what passes has all that a connection needs, each server once; and
 * a password is shown neither of a good nor of a bad one.
 *
 * Input: the setting.  The word s3cr3t between a ':' and an '@', or behind `password=`, is a password wherever
 * it stands.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/pg.h"
#include "service/pg_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES = 8 << 20 };

static const char word[] = "s3cr3t";

static void
must(bool ok)
{
	if (!ok)
		abort();
}

static void
check_one(const struct pg_url *u)
{
	const struct pg_address to = pg_url_address(u, "192.0.2.1");

	must(*u->host != '\0' && u->port > 0);
	must(u->user != NULL && u->database != NULL);
	must((u->password != NULL) <= (strstr(u->shown, ":***@") != NULL));
	must(to.host == u->host && to.port == u->port && to.password == u->password);
	must(pg_url_is_local(u) == (*u->host == '/'));
}

static void
check_all(const struct pg_url urls[PG_URLS_MAX], size_t count)
{
	must(count > 0 && count <= PG_URLS_MAX);
	for (size_t i = 0; i < count; i++) {
		check_one(&urls[i]);
		for (size_t k = 0; k < i; k++)
			must(!pg_url_same_place(&urls[i], &urls[k]));
	}
}

/* Where the word is no password: of a good URL these are shown. */
static bool
names_hold_it(const struct pg_url urls[PG_URLS_MAX], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strstr(urls[i].user, word) != NULL || strstr(urls[i].host, word) != NULL ||
		    strstr(urls[i].database, word) != NULL)
			return true;
	return false;
}

static bool
shows_a_password(const char *shown)
{
	return strstr(shown, ":s3cr3t@") != NULL || strstr(shown, "?password=s3cr3t") != NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pg_url urls[PG_URLS_MAX];
	const char *why, *shown;
	struct slice text;
	struct arena a;
	size_t count;
	enum err rc;

	arena_init(&a, ARENA_BYTES);
	/* A setting is a string of C. */
	text = slice_of(arena_copy(&a, (struct slice){ (const char *)data, size }));
	rc = pg_urls_parse(text, &a, urls, &count, &why);
	must(rc == ERR_OK || rc == ERR_INVALID);
	must(rc == ERR_OK ? pg_url_fits(slice_trim(text)) : *why != '\0');
	if (rc == ERR_OK)
		check_all(urls, count);
	shown = pg_urls_shown(text, &a);
	must(names_hold_it(urls, rc == ERR_OK ? count : 0) || !shows_a_password(shown));
	arena_free(&a);
	return 0;
}
