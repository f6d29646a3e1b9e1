/*
 * Endpoint files: from the folders, and from process to process.
 *
 * The stored form: for each file the lengths of path and text, 32 bits each, then both.
 */
#include "service/handler_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/hash.h"
#include "service/front_matter.h"

enum { MAX_BYTES = 256 << 20, LENGTHS_BYTES = 2 * sizeof(uint32_t) };

/* ${path} and ${text} are copied, but for a text that lies in the arena already. */
static enum err
add(struct handler_files *f, const char *path, struct slice text)
{
	struct handler_file *wider = f->list;

	if (f->count == f->cap) {
		f->cap = f->cap == 0 ? 16 : 2 * f->cap;
		wider = reallocarray(f->list, f->cap, sizeof *f->list);
		if (wider == NULL)
			return ERR_NOMEM;
		f->list = wider;
	}
	f->list[f->count].path = arena_copy(&f->arena, slice_of(path));
	f->list[f->count].text = arena_slice(&f->arena, text);
	f->count++;
	return f->arena.overflowed ? ERR_NOMEM : ERR_OK;
}

void
handler_files_free(struct handler_files *f)
{
	free(f->list);
	arena_free(&f->arena);
	*f = (struct handler_files){ .list = NULL };
}

static void
start(struct handler_files *f)
{
	*f = (struct handler_files){ .list = NULL };
	arena_init(&f->arena, MAX_BYTES);
}

/*
 * From the folders.
 */
/* The bytes of a regular file, or one more than any endpoint file may have; -1: errno, 0 when it is no file. */
static ssize_t
read_whole(const char *path, char *out, size_t cap)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = -1, len = 0;
	struct stat st;
	int saved;

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1)
		goto out;
	errno = 0; /* there is none for what is not a file */
	if (!S_ISREG(st.st_mode))
		goto out;
	while ((n = read(fd, out + len, cap - (size_t)len)) > 0)
		len += n;
out:
	saved = errno;
	(void)close(fd);
	errno = saved;
	return n == 0 || (size_t)len == cap ? len : -1;
}

static enum err
read_file(struct handler_files *f, const char *path, struct fault_list *faults)
{
	enum { CAP = FRONT_MATTER_MAX_BYTES + 1 };
	char *text = malloc(CAP);
	const ssize_t n = text == NULL ? 0 : read_whole(path, text, CAP);
	enum err rc = text == NULL ? ERR_NOMEM : ERR_OK;

	if (n < 0)
		fault_add(faults, path, 0, "%s, expected a file that can be read",
		    errno == 0 ? "a folder, pipe or device" : strerror(errno));
	else if (rc == ERR_OK)
		rc = add(f, path, (struct slice){ text, (size_t)n });
	free(text);
	return rc;
}

static int
is_endpoint_file(const struct dirent *entry)
{
	const struct slice name = slice_of(entry->d_name), suffix = SLICE(".sql");

	return *name.ptr != '.' && name.len > suffix.len &&
	       memcmp(name.ptr + name.len - suffix.len, suffix.ptr, suffix.len) == 0;
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static enum err
read_folder(struct handler_files *f, const char *folder, struct fault_list *faults)
{
	struct dirent **entries = NULL;
	const int n = scandir(folder, &entries, is_endpoint_file, by_name);
	enum err rc = ERR_OK;

	if (n < 0)
		fault_add(
		    faults, folder, 0, "%s, expected a folder of endpoint files", strerror(errno));
	if (n == 0)
		fault_warn(faults, folder, 0, "no endpoint file, expected NAME.sql");
	for (int i = 0; i < n; i++) {
		const char *slash = folder[strlen(folder) - 1] == '/' ? "" : "/";
		const char *path =
		    arena_printf(&f->arena, "%s%s%s", folder, slash, entries[i]->d_name);

		if (rc == ERR_OK)
			rc = path == NULL ? ERR_NOMEM : read_file(f, path, faults);
		free(entries[i]);
	}
	free(entries);
	return rc;
}

enum err
handler_files_read(const char *folders, struct fault_list *faults, struct handler_files *out)
{
	struct slice rest = slice_of(folders == NULL ? "" : folders);
	enum err rc = ERR_OK;

	start(out);
	while (rest.ptr != NULL && rc == ERR_OK) {
		const struct slice folder = slice_cut(&rest, ':');
		const char *path = arena_copy(&out->arena, folder);

		if (folder.len > 0)
			rc = path == NULL ? ERR_NOMEM : read_folder(out, path, faults);
	}
	if (rc != ERR_OK)
		handler_files_free(out);
	return rc;
}

/* Order counts, and is by name. */
static uint64_t
stamp_folder(uint64_t stamp, const char *folder)
{
	struct dirent **entries = NULL;
	const int n = scandir(folder, &entries, is_endpoint_file, by_name);
	const int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	stamp = hash64(stamp, folder, strlen(folder));
	for (int i = 0; i < n; i++) {
		const char *name = entries[i]->d_name;
		struct stat st = { 0 };
		int64_t facts[4];

		(void)fstatat(dir, name, &st, 0);
		facts[0] = (int64_t)st.st_ino;
		facts[1] = st.st_size;
		facts[2] = st.st_mtim.tv_sec;
		facts[3] = st.st_mtim.tv_nsec;
		stamp = hash64(stamp, name, strlen(name));
		stamp = hash64(stamp, facts, sizeof facts);
		free(entries[i]);
	}
	free(entries);
	if (dir != -1)
		(void)close(dir);
	return stamp;
}

uint64_t
handler_files_stamp(const char *folders)
{
	struct slice rest = slice_of(folders == NULL ? "" : folders);
	uint64_t stamp = 0;
	char path[PATH_MAX];

	while (rest.ptr != NULL) {
		const struct slice folder = slice_cut(&rest, ':');

		if (folder.len == 0 || folder.len >= sizeof path)
			continue;
		memcpy(path, folder.ptr, folder.len);
		path[folder.len] = '\0';
		stamp = stamp_folder(stamp, path);
	}
	return stamp;
}

/*
 * What was good before.
 */
static struct handler_file *
find(const struct handler_files *f, const char *path)
{
	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->list[i].path, path) == 0)
			return &f->list[i];
	return NULL;
}

static void
drop(struct handler_files *f, struct handler_file *file)
{
	const size_t behind = (size_t)(f->list + f->count - (file + 1));

	memmove(file, file + 1, behind * sizeof *file);
	f->count--;
}

/* ${path} as it was in ${old}. */
static enum err
put_back(
    struct handler_files *f, const struct handler_files *old, const char *path, size_t *changed)
{
	struct handler_file *now = find(f, path), *before = find(old, path);
	enum err rc = ERR_OK;

	if (now == NULL && before == NULL)
		return ERR_OK;
	if (now != NULL && before != NULL && slice_eq(now->text, before->text))
		return ERR_OK;
	if (before == NULL)
		drop(f, now);
	else if (now == NULL)
		rc = add(f, arena_copy(&f->arena, slice_of(path)), before->text);
	else
		now->text = arena_slice(&f->arena, before->text);
	(*changed)++;
	return f->arena.overflowed ? ERR_NOMEM : rc;
}

static int
by_path(const void *a, const void *b)
{
	return strcmp(
	    ((const struct handler_file *)a)->path, ((const struct handler_file *)b)->path);
}

enum err
handler_files_put_back(struct handler_files *f, const struct handler_files *old,
    const struct fault_list *faults, size_t *changed_out)
{
	enum err rc = ERR_OK;

	*changed_out = 0;
	for (size_t i = 0; i < faults->count && rc == ERR_OK; i++)
		if (!faults->items[i].warning)
			rc = put_back(f, old, faults->items[i].file, changed_out);
	if (f->count > 0)
		qsort(f->list, f->count, sizeof *f->list, by_path);
	return rc;
}

bool
handler_files_equal(const struct handler_files *a, const struct handler_files *b)
{
	for (size_t i = 0; i < a->count && i < b->count; i++)
		if (strcmp(a->list[i].path, b->list[i].path) != 0 ||
		    !slice_eq(a->list[i].text, b->list[i].text))
			return false;
	return a->count == b->count;
}

/*
 * From process to process.
 */
static enum err
write_whole(int fd, struct slice bytes)
{
	while (bytes.len > 0) {
		const ssize_t n = write(fd, bytes.ptr, bytes.len);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return ERR_IO;
		bytes.ptr += n;
		bytes.len -= (size_t)n;
	}
	return ERR_OK;
}

enum err
handler_files_write(const struct handler_files *f, int fd)
{
	struct strbuf b = STRBUF_INIT(MAX_BYTES);
	enum err rc;

	for (size_t i = 0; i < f->count; i++) {
		const struct slice path = slice_of(f->list[i].path), text = f->list[i].text;
		const uint32_t lengths[2] = { (uint32_t)path.len, (uint32_t)text.len };

		strbuf_add(&b, lengths, sizeof lengths);
		strbuf_add_slice(&b, path);
		strbuf_add_slice(&b, text);
	}
	rc = b.failed ? ERR_NOMEM : write_whole(fd, strbuf_slice(&b));
	strbuf_free(&b);
	return rc;
}

enum err
handler_files_store(const struct handler_files *f, int *fd_out)
{
	const int fd = memfd_create("weir endpoint files", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	enum err rc = fd == -1 ? ERR_IO : handler_files_write(f, fd);

	if (rc == ERR_OK &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == -1)
		rc = ERR_IO;
	if (rc != ERR_OK && fd != -1)
		(void)close(fd);
	*fd_out = rc == ERR_OK ? fd : -1;
	return rc;
}

/* Cuts ${n} bytes off ${rest}. */
static bool
take(struct slice *rest, size_t n, struct slice *out)
{
	if (n > rest->len)
		return false;
	*out = (struct slice){ rest->ptr, n };
	rest->ptr += n;
	rest->len -= n;
	return true;
}

static enum err
add_stored(struct handler_files *f, struct slice bytes)
{
	enum err rc = ERR_OK;

	while (bytes.len > 0 && rc == ERR_OK) {
		struct slice head, path, text;
		uint32_t lengths[2];

		if (!take(&bytes, LENGTHS_BYTES, &head))
			return ERR_INVALID;
		memcpy(lengths, head.ptr, sizeof lengths);
		if (!take(&bytes, lengths[0], &path) || !take(&bytes, lengths[1], &text))
			return ERR_INVALID;
		rc = add(f, arena_copy(&f->arena, path), text);
	}
	return rc;
}

enum err
handler_files_load(int fd, struct handler_files *out)
{
	struct stat st;
	enum err rc;
	void *bytes;

	start(out);
	if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) || st.st_size > MAX_BYTES)
		return ERR_INVALID;
	if (st.st_size == 0)
		return ERR_OK;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return ERR_NOMEM;
	rc = add_stored(out, (struct slice){ bytes, (size_t)st.st_size });
	(void)munmap(bytes, (size_t)st.st_size);
	if (rc != ERR_OK)
		handler_files_free(out);
	return rc;
}
