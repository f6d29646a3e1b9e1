#ifndef RUNTIME_UNATTENDED_H
#define RUNTIME_UNATTENDED_H

#include "base/err.h"

struct config;
struct fault_list;
struct handler_set; /* pipeline/handler.h */

/*
 * A worker that no supervisor watches over: under mod_fcgid, lighttpd, spawn-fcgi.
 *
 * Some hosts take a FastCGI program out of use for minutes when it ends a few times.  So it ends only when it is told to: what keeps
 * it from working is logged once for each change, every request is answered 503, and some seconds later it looks at everything
 * again: settings, endpoint files, state folder.
 */
struct unattended_options {
	/* Settings and log, anew for each try; what is wrong is in the list.  ${ctx} is handed back. */
	enum err (*load)(void *ctx, struct fault_list *faults, struct config **out);
	void *ctx;
	const char *env_file; /* that is read; NULL: ./.env, when it is there */
	const struct handler_set *handlers;
	int listen_fd;
};
void unattended_run(const struct unattended_options *o); /* until told to stop */

#endif
