#ifndef TESTS_BENCH_FLOOR_H
#define TESTS_BENCH_FLOOR_H

#include <fcgiapp.h>

/*
 * What both floors do with a request: read its body to the end, answer 512 bytes.
 */
static inline void
floor_answer(FCGX_Request *r)
{
	static const char head[] = "Content-Type: application/json\r\nContent-Length: 512\r\n\r\n";
	char bytes[4096], body[512];

	while (FCGX_GetStr(bytes, sizeof bytes, r->in) > 0)
		continue; /* else a kept connection would read the rest as the next request */
	for (size_t i = 0; i < sizeof body; i++)
		body[i] = 'x';
	(void)FCGX_PutStr(head, sizeof head - 1, r->out);
	(void)FCGX_PutStr(body, sizeof body, r->out);
}

#endif
