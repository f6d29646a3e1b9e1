#ifndef SERVICE_WEB_ROOT_H
#define SERVICE_WEB_ROOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Whether the front server would hand out what is ours: on shared hosting the state folder, `.env` and the endpoint files
 * often lie in the web root itself.
 *
 * Closed is what has, in its folder or in one above it up to the web root, a .htaccess that denies everything, and a
 * front that reads such files.  The nearest one that says anything decides.  What cannot be seen from here is a front whose
 * AllowOverride makes it pass them over.
 */
struct web_root;

struct web_root_part {
	const char *path; /* absolute; NULL, or not there: nothing to be read */
	const char *what; /* for a person: "the state folder" */
};

enum { WEB_ROOT_PARTS_MAX = 32 };

/* ${parts} are copied; more than WEB_ROOT_PARTS_MAX are ERR_FULL. */
enum err web_root_open(const struct web_root_part *parts, size_t count, struct web_root **out);
void web_root_close(struct web_root **wp);

/*
 * Why nothing may be answered under ${document_root}: words for the client, or NULL.  ${software}: the front's
 * SERVER_SOFTWARE.  Looks at the disk at most once a second; logs every change.  For one thread.
 */
const char *web_root_fault(
    struct web_root *w, struct slice document_root, struct slice software, int64_t now_ms);

#endif
