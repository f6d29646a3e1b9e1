#ifndef HTTP_ACCEPT_H
#define HTTP_ACCEPT_H

#include <stdbool.h>

#include "base/str.h"

/*
 * Whether an Accept header (RFC 9110 §12.5.1; its lines joined, absent: none was sent) lets an answer be
 * application/json.  The most specific range that covers it decides; a weight of 0 forbids.  What is not a
 * media range is skipped, and a header without any counts as not sent.
 */
bool accept_allows_json(struct slice accept);

/* Whether ${accept} names ${type} ("text/html") itself, not only by a star, and its weight does not forbid it. */
bool accept_names(struct slice accept, const char *type);

#endif
