#ifndef RUNTIME_EXIT_CODE_H
#define RUNTIME_EXIT_CODE_H

/* What every command of weir ends with. */
enum exit_code {
	EXIT_CODE_DONE = 0,
	EXIT_CODE_FAILED = 1,
	EXIT_CODE_USAGE = 2,
	EXIT_CODE_CONFIG = 78 /* the configuration is wrong: starting again will not help */
};

#endif
