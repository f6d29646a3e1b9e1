#ifndef BASE_ERR_H
#define BASE_ERR_H

/*
 * The closed list of ways in which a call can fail.  -Wswitch-enum shows every
 * place that must learn a new one; http/problem.c alone turns one into a status.
 */
enum err {
	ERR_OK = 0,
	ERR_NOMEM,	 /* allocation failed, or the arena is full */
	ERR_INVALID,	 /* the caller's input is malformed */
	ERR_NOT_FOUND,	 /* no such thing */
	ERR_CONFLICT,	 /* already there, or in somebody else's hands */
	ERR_MISMATCH,	 /* same key, other content */
	ERR_LIMITED,	 /* quota used up */
	ERR_OVERLOADED,	 /* shed: too much in hand */
	ERR_TIMEOUT,	 /* deadline passed */
	ERR_UNAVAILABLE, /* peer unreachable, breaker open */
	ERR_FULL,	 /* a bounded store or the disk is full */
	ERR_TOO_LARGE,	 /* one item is over its bound */
	ERR_DENIED,	 /* not allowed: permission, ownership */
	ERR_IO,		 /* errno says why */
	ERR__COUNT
};

/* A short constant word for logs, such as "timeout". */
const char *err_name(enum err e);

#endif
