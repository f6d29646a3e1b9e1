/* Goal: no bytes that a collector answers crash or fool who reads them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "telemetry/otlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *bytes = malloc(size + 1);
	int64_t n = 0;
	struct slice s, message;

	if (bytes == NULL)
		return 0;
	memcpy(bytes, data, size);
	s = (struct slice){ bytes, size };
	if (otlp_read_response(s, &n, &message) == ERR_OK && message.len > size)
		abort();
	if (otlp_read_retry_info(s, &n) == ERR_OK && n < 0)
		abort();
	while (otlp_cut_span(&s).ptr != NULL)
		continue;
	free(bytes);
	return 0;
}
