#ifndef RUNTIME_WORKER_ENV_H
#define RUNTIME_WORKER_ENV_H

/*
 * What a child of `weir serve` finds: its listening socket on descriptor 0 (the consumer: /dev/null),
 * every setting in the environment (config_environment()), and under this name the number of the descriptor on
 * which the supervisor's death shows as end of file.  On the next one are the endpoint files (service/handler_files.h).
 *
 * Whoever has no such name was started by somebody else (spawn-fcgi, mod_fcgid, a person), and reads `.env` itself.
 */
#define WORKER_ENV_LIFELINE "WEIR_LIFELINE_FD"

enum { WORKER_LISTEN_FD = 0, WORKER_LIFELINE_FD = 3, WORKER_FILES_FD = 4 };
#define WORKER_LIFELINE_TEXT "3"

#endif
