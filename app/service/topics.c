/*
 * The topics of a catalog.  An event's topic is chosen when it is forwarded: by the file as it is then.
 */
#include "service/topics.h"

#include <stdlib.h>
#include <string.h>

#include "http/endpoint.h"
#include "service/catalog.h"

static void
add(struct topics *t, const char *name)
{
	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->names[i], name) == 0)
			return;
	t->names[t->count++] = name;
}

enum err
topics_make(const struct catalog *c, const char *fallback, struct topics *out)
{
	*out = (struct topics){ .names = calloc(c->count + 1, sizeof *out->names) };
	if (out->names == NULL)
		return ERR_NOMEM;
	add(out, fallback);
	for (size_t i = 0; i < c->count; i++)
		if (c->endpoints[i]->topic != NULL)
			add(out, c->endpoints[i]->topic);
	return ERR_OK;
}

void
topics_free(struct topics *t)
{
	free(t->names);
	*t = (struct topics){ 0 };
}

const char *
topics_of(const struct topics *t, const struct endpoint *e)
{
	return e == NULL || e->topic == NULL ? t->names[0] : e->topic;
}
