#ifndef SERVICE_HANDLER_FILES_H
#define SERVICE_HANDLER_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct fault_list;

/*
 * The endpoint files of one moment, as bytes: read from the folders once, and then the same for every process that is
 * started from them, whatever somebody does to the folders meanwhile.
 *
 * What is an endpoint file: whatever lies directly in a handler folder and ends in .sql.  Folders inside are not looked into,
 * so schema and import scripts have their place beside the files they belong to; hidden files are editors'.
 */
struct handler_file {
	const char *path;
	struct slice text; /* one byte more than FRONT_MATTER_MAX_BYTES at most */
};

struct handler_files {
	struct handler_file *list; /* by folder, then by name */
	size_t count, cap;
	struct arena arena; /* paths and texts live here */
};

/* ${folders}: ':'-separated; NULL: none.  What cannot be read is in the list of faults, and ERR_OK; ERR_NOMEM. */
enum err handler_files_read(
    const char *folders, struct fault_list *faults, struct handler_files *out);
void handler_files_free(struct handler_files *f); /* also of a zeroed one */

/* Another number as soon as a file of ${folders} is another one: by names, sizes and times.  One look at each. */
uint64_t handler_files_stamp(const char *folders);

/* Which of ${f} the faults name gets the text that it has in ${old}, or goes when it has none there; what could not be read comes back
 * from there.  *${changed_out}: how many did; a second time with the same fault, none.  ERR_NOMEM. */
enum err handler_files_put_back(struct handler_files *f, const struct handler_files *old,
    const struct fault_list *faults, size_t *changed_out);
bool handler_files_equal(const struct handler_files *a, const struct handler_files *b);

/* To a file that is empty.  ERR_NOMEM, ERR_IO. */
enum err handler_files_write(const struct handler_files *f, int fd);
/* As a sealed file without a name, which is close-on-exec and stays when its folders change.  ERR_NOMEM, ERR_IO. */
enum err handler_files_store(const struct handler_files *f, int *fd_out);
/* From such a file, which stays open; also at once in several processes that share it.  ERR_INVALID: not one. */
enum err handler_files_load(int fd, struct handler_files *out);

#endif
