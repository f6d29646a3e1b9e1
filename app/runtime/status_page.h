#ifndef RUNTIME_STATUS_PAGE_H
#define RUNTIME_STATUS_PAGE_H

#include "base/str.h"

/*
 * The page behind /status: made at build time of the files in app/status/, one document that asks for nothing from
 * outside but `?json`.  The policy is its Content-Security-Policy, with the hashes of its one script and style.
 */
extern const struct slice status_page;
extern const char status_page_policy[];

#endif
