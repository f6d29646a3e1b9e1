#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * One event a line, as JSON or text, to stderr or a file.
 *
 *   log_warn("sqlite_open_failed", LOG_STR("path", path), LOG_ERR("error", rc));
 *
 * Every line has ts, level, event and pid.  Lines are atomic among processes (one write each, or one
 * write of several whole lines).  Values are escaped; secrets never come here.  Any thread may log.
 */
enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

struct log_options {
	enum log_level level;
	bool text;	  /* false: JSON */
	const char *file; /* NULL: stderr */
};

struct log_field {
	const char *name;
	enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_SLICE } kind;
	union {
		const char *str;
		int64_t num;
		struct slice slice;
	} as;
};

#define LOG_STR(n, v) ((struct log_field){ .name = (n), .kind = LOG_FIELD_STR, .as.str = (v) })
#define LOG_INT(n, v)                                                                              \
	((struct log_field){ .name = (n), .kind = LOG_FIELD_INT, .as.num = (int64_t)(v) })
#define LOG_SLICE(n, v)                                                                            \
	((struct log_field){ .name = (n), .kind = LOG_FIELD_SLICE, .as.slice = (v) })
#define LOG_ERR(n, e) LOG_STR(n, err_name(e))

enum err log_open(const struct log_options *o); /* ERR_IO: the file cannot be opened */
enum err log_reopen(void);			/* USR1; keeps the old file on failure */
bool log_enabled(enum log_level level);

void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t n);

/* A second file beside the log, in the same format, for lines of one kind.  Any thread may write; one opens, reopens
 * and closes. */
struct log_file;
enum err log_file_open(const char *path, struct log_file **out); /* ERR_IO */
enum err log_file_reopen(struct log_file *f);			 /* keeps the old one on failure */
void log_file_close(struct log_file **fp);
void log_file_write(struct log_file *f, enum log_level level, const char *event,
    const struct log_field *fields, size_t n);

#define LOG_FIELDS_(...)                                                                           \
	(const struct log_field[])                                                                 \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define LOG_AT_(level, event, ...)                                                                 \
	log_write(level, event, LOG_FIELDS_(__VA_ARGS__),                                          \
	    sizeof(LOG_FIELDS_(__VA_ARGS__)) / sizeof(struct log_field))
#define log_debug(event, ...) LOG_AT_(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)  LOG_AT_(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_warn(event, ...)  LOG_AT_(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_error(event, ...) LOG_AT_(LOG_LEVEL_ERROR, event, __VA_ARGS__)

/*
 * Batching for a thread that logs often: between log_hold() and log_release() this thread's lines
 * are gathered (up to 64 KiB, then written) and go out in one write.  A killed process loses them.
 */
void log_hold(void);
void log_release(void);

/*
 * Against floods: true at most once a second for each ${gate}; then *${suppressed_out} is how many
 * were held back since.  A gate is one static zeroed struct beside its log line.
 */
struct log_gate {
	_Atomic int64_t next_ms;
	_Atomic uint64_t held;
};
bool log_gate_open(struct log_gate *gate, int64_t now_ms, uint64_t *suppressed_out);

#endif
