#ifndef RUNTIME_EXPOSURE_H
#define RUNTIME_EXPOSURE_H

#include "base/err.h"

struct config;
struct web_root; /* service/web_root.h */

/* What of the settings names a place that a front server must not hand out: the state folder, the `.env` file
 * (${env_file}, NULL: ./.env), the endpoint files, an embedded database elsewhere, a log. */
enum err exposure_open(const struct config *c, const char *env_file, struct web_root **out);

#endif
