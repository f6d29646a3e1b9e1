/*
 * main() for a fuzzer's function where there is no fuzzer: runs it on every file that argv names, so that
 * what once broke a parser is tried again by each `make test`.  A crash ends the program without its
 * last line, and counts.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
replay(const char *path)
{
	struct stat st;
	uint8_t *data = NULL;
	bool ok = false;
	FILE *f = fopen(path, "rb");

	if (f == NULL || fstat(fileno(f), &st) == -1)
		goto out;
	/* Exactly as long as the file: a sanitizer then sees a read past its end. */
	data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
	if (data == NULL || fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
		goto out;
	ok = LLVMFuzzerTestOneInput(data, (size_t)st.st_size) == 0;
out:
	if (f != NULL)
		(void)fclose(f);
	free(data);
	return ok;
}

int
main(int argc, char *argv[])
{
	int failed = 0;

	for (int i = 1; i < argc; i++) {
		if (replay(argv[i]))
			continue;
		(void)printf("FAILED %s\n", argv[i]);
		failed++;
	}
	(void)printf("%d passed, %d failed\n", argc - 1 - failed, failed);
	return failed == 0 ? 0 : 1;
}
