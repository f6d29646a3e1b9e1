/*
 * Apache, as `weir doctor` reads it: mod_fcgid that starts weir, or mod_proxy_fcgi before `weir serve`.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/fault.h"
#include "base/str.h"
#include "cmd/doctor.h"
#include "runtime/config.h"

enum { FCGID_BODY_BYTES = 131072 };

static const struct front_directive *
find(const struct front_config *front, const struct front_directive *after, const char *name)
{
	return front_config_find(&front->root, after, name, true);
}

static bool
says(const struct front_directive *d, const char *text)
{
	for (size_t i = 1; i < d->count; i++)
		if (strcasestr(d->words[i], text) != NULL)
			return true;
	return false;
}

/* The first directive of that name that says ${text}. */
static const struct front_directive *
find_saying(const struct front_config *front, const char *name, const char *text)
{
	const struct front_directive *d = NULL;

	while ((d = find(front, d, name)) != NULL)
		if (says(d, text))
			break;
	return d;
}

/* Any of the ways in which it may reach a program. */
static bool
authorization_passes(const struct front_config *front, bool fcgid)
{
	return find_saying(front, "CGIPassAuth", "on") != NULL ||
	       (fcgid && find_saying(front, "FcgidPassHeader", "authorization") != NULL) ||
	       find_saying(front, "RewriteRule", "HTTP_AUTHORIZATION") != NULL ||
	       find_saying(front, "SetEnvIf", "HTTP_AUTHORIZATION") != NULL;
}

static void
check_authorization(const struct front_config *front, const struct front_directive *at, bool fcgid,
    struct fault_list *findings)
{
	if (!authorization_passes(front, fcgid))
		fault_warn(findings, at->file, at->line,
		    "API keys in Authorization do not arrive (X-API-Key does); add: CGIPassAuth "
		    "On");
}

/* The last one that was said anywhere counts: sections are not told apart. */
static void
check_limit(const struct front_config *front, const struct front_directive *at, const char *name,
    int64_t unset, int64_t wanted, struct fault_list *findings)
{
	const struct front_directive *d = NULL, *last = NULL;
	int64_t most = unset;

	while ((d = find(front, d, name)) != NULL)
		last = d;
	if (last != NULL &&
	    (last->count < 2 || slice_to_i64(slice_of(last->words[1]), &most) != ERR_OK))
		return;
	if (most == 0 || most >= wanted)
		return;
	if (last == NULL)
		last = at;
	fault_warn(findings, last->file, last->line,
	    "bodies over %" PRId64 " bytes get Apache's own answer, WEIR_MAX_BODY allows %" PRId64
	    "; add: %s %" PRId64,
	    most, wanted, name, wanted);
}

static void
check_fcgid(const struct config *c, const struct front_config *front,
    const struct front_directive *at, struct fault_list *findings)
{
	check_limit(front, at, "FcgidMaxRequestLen", FCGID_BODY_BYTES, c->max_body_bytes, findings);
	check_authorization(front, at, true, findings);
}

static void
check_proxy(const struct config *c, const struct front_config *front,
    const struct front_directive *at, struct fault_list *findings)
{
	if (!says(at, "enablereuse=on") && find_saying(front, "ProxySet", "enablereuse=on") == NULL)
		fault_warn(findings, at->file, at->line,
		    "every request opens a connection of its own; add to it: enablereuse=on");
	check_limit(front, at, "LimitRequestBody", INT64_MAX, c->max_body_bytes, findings);
	check_authorization(front, at, false, findings);
}

/* mod_proxy_fcgi to our socket, as ProxyPass, ProxyPassMatch or SetHandler spell it. */
static const struct front_directive *
find_proxy(const struct config *c, const struct front_config *front)
{
	static const char *const names[] = { "ProxyPass", "ProxyPassMatch", "SetHandler" };
	const char *path = address_unix_path(c->listen);
	const char *place = path != NULL ? path : c->listen;
	const struct front_directive *d = NULL;

	for (size_t i = 0; d == NULL && i < sizeof names / sizeof *names; i++)
		while ((d = find(front, d, names[i])) != NULL)
			if (says(d, "fcgi://") && says(d, place))
				break;
	return d;
}

static const struct front_directive *
find_fcgid(const struct front_config *front)
{
	const struct front_directive *d = find_saying(front, "SetHandler", "fcgid-script");

	if (d == NULL)
		d = find_saying(front, "AddHandler", "fcgid-script");
	return d != NULL ? d : find(front, NULL, "FcgidWrapper");
}

size_t
doctor_apache(const struct config *c, const struct front_config *front, struct fault_list *findings)
{
	const struct front_directive *proxy = find_proxy(c, front), *fcgid = find_fcgid(front);

	if (proxy != NULL)
		check_proxy(c, front, proxy, findings);
	if (fcgid != NULL)
		check_fcgid(c, front, fcgid, findings);
	return (size_t)(proxy != NULL) + (size_t)(fcgid != NULL);
}
