/*
 * Goal: no REDIS_URL crashes its reader; what passes for shards are shards, each once; and a password is shown
 * neither of a good nor of a bad one.
 *
 * Input: the setting.  The word s3cr3t between a ':' and an '@' is a password wherever it stands.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/shard_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES = 8 << 20 };

static const char password[] = ":s3cr3t@";

static void
must(bool ok)
{
	if (!ok)
		abort();
}

static void
check_one(const struct shard_url *u)
{
	must((u->host == NULL) != (u->path == NULL));
	must(u->host == NULL || u->port > 0);
	must(u->path == NULL || u->password == NULL);
	must(u->user == NULL || u->password != NULL);
	must((u->password != NULL) <= (strstr(u->shown, "***") != NULL));
}

static void
check_all(const struct shard_url urls[SHARD_URLS_MAX], size_t count)
{
	must(count > 0 && count <= SHARD_URLS_MAX);
	for (size_t i = 0; i < count; i++) {
		check_one(&urls[i]);
		for (size_t k = 0; k < i; k++)
			must(strcmp(urls[i].identity, urls[k].identity) != 0);
	}
}

/* Of a unix socket it is a piece of the path. */
static bool
has_path(const struct shard_url urls[SHARD_URLS_MAX], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (urls[i].path != NULL)
			return true;
	return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct shard_url urls[SHARD_URLS_MAX];
	const char *why, *shown;
	struct slice text;
	struct arena a;
	size_t count;
	enum err rc;

	arena_init(&a, ARENA_BYTES);
	/* A setting is a string of C. */
	text = slice_of(arena_copy(&a, (struct slice){ (const char *)data, size }));
	rc = shard_urls_parse(text, &a, urls, &count, &why);
	must(rc == ERR_OK || rc == ERR_INVALID);
	must(rc == ERR_OK || *why != '\0');
	if (rc == ERR_OK)
		check_all(urls, count);
	shown = shard_urls_shown(text, &a);
	must(has_path(urls, rc == ERR_OK ? count : 0) || strstr(shown, password) == NULL);
	arena_free(&a);
	return 0;
}
