#ifndef HTTP_NEGOTIATE_H
#define HTTP_NEGOTIATE_H

#include <stdbool.h>

#include "base/str.h"

/*
 * What a scraper of /metrics would like best (RFC 9110 §12.5).  Headers are joined by commas, absent when none was
 * sent; what is not well-formed is skipped.
 */

/* OpenMetrics 1.0.0 has a weight, and no lower one than text 0.0.4; what names no version takes any. */
bool negotiate_openmetrics(struct slice accept);

/* gzip has a weight, by its name or by the star. */
bool negotiate_gzip(struct slice accept_encoding);

#endif
