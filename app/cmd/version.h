#ifndef CMD_VERSION_H
#define CMD_VERSION_H

#include "runtime/exit_code.h"

/*
 * weir --version: which weir this is, and what it is built with.
 */
enum exit_code version_print(void);

#endif
