/* Goal: every event is one whole line, whatever is in it and whoever writes beside it. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "tests/support/unit.h"

enum { FILE_BYTES = 16 << 20 };

static char path[4200];
static char content[FILE_BYTES];

/* Begins a fresh log file. */
static void
open_log(enum log_level level, bool text)
{
	(void)snprintf(path, sizeof path, "%s/log", unit_dir());
	(void)unlink(path);
	CU_ASSERT_EQUAL_FATAL(
	    log_open(&(struct log_options){ .level = level, .text = text, .file = path }), ERR_OK);
}

static void
close_log(void)
{
	CU_ASSERT_EQUAL(log_open(&(struct log_options){ .level = LOG_LEVEL_INFO }), ERR_OK);
}

/* What stands in the file. */
static struct slice
read_log(void)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd == -1 ? -1 : read(fd, content, sizeof content - 1);

	(void)close(fd);
	content[n < 0 ? 0 : n] = '\0';
	return slice_of(content);
}

/* The raw value of ${name} in the JSON line ${line}; absent when the line is no good. */
static struct slice
value_in(struct arena *a, struct slice line, const char *name)
{
	struct json_member *m;
	struct json_fault fault;
	size_t n;

	if (json_scan_object(line, a, &m, &n, &fault) != ERR_OK)
		return (struct slice){ NULL, 0 };
	for (size_t i = 0; i < n; i++)
		if (slice_eq_cstr(m[i].name, name))
			return m[i].raw;
	return (struct slice){ NULL, 0 };
}

static size_t
count_good_lines(void)
{
	struct slice rest = read_log();
	size_t good = 0;
	struct arena a;

	arena_init(&a, 1 << 20);
	while (rest.len > 0) {
		good += value_in(&a, slice_cut(&rest, '\n'), "event").ptr != NULL;
		arena_reset(&a);
	}
	arena_free(&a);
	return good;
}

static void
a_json_line_has_its_fields_in_order(void)
{
	char want[200];
	struct slice s;

	open_log(LOG_LEVEL_INFO, false);
	log_warn("cache_full", LOG_STR("path", "a\"b"), LOG_INT("bytes", -7),
	    LOG_SLICE("key", SLICE("xyz")), LOG_ERR("error", ERR_FULL), LOG_STR("none", NULL));
	s = read_log();
	(void)snprintf(want, sizeof want,
	    "\",\"level\":\"warn\",\"event\":\"cache_full\",\"pid\":%d,\"path\":\"a\\\"b\","
	    "\"bytes\":-7,\"key\":\"xyz\",\"error\":\"full\",\"none\":null}\n",
	    (int)getpid());
	CU_ASSERT_TRUE(slice_starts(s, "{\"ts\":\"2"));
	CU_ASSERT_TRUE_FATAL(s.len > 34);
	CU_ASSERT_EQUAL(s.ptr[33], 'Z');
	CU_ASSERT_STRING_EQUAL(s.ptr + 34, want);
	close_log();
}

static void
a_text_line_quotes_only_what_is_no_word(void)
{
	char want[200];
	struct slice s;

	open_log(LOG_LEVEL_INFO, true);
	log_error("bad", LOG_STR("a", "word"), LOG_STR("b", "two words"), LOG_STR("c", ""),
	    LOG_INT("n", 5), LOG_STR("e", "x=y"), LOG_STR("f", "\xc3\xa9\n"), LOG_STR("g", NULL));
	s = read_log();
	(void)snprintf(want, sizeof want,
	    "Z ERROR bad pid=%d a=word b=\"two words\" c=\"\" n=5 e=\"x=y\" f=\"\xc3\xa9\\n\""
	    " g=null\n",
	    (int)getpid());
	CU_ASSERT_TRUE_FATAL(s.len > 26);
	CU_ASSERT_STRING_EQUAL(s.ptr + 26, want);
	close_log();
}

static void
hostile_bytes_stay_inside_their_value(void)
{
	struct slice s;

	open_log(LOG_LEVEL_INFO, false);
	log_info("x",
	    LOG_SLICE("v", SLICE("a\n\r\t\"\\\0\x1b[2J\x7f\xff\xc3(\xed\xa0\x80\xc2\x9b\xc2\xa0")));
	s = read_log();
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(s.ptr, "\"v\":\"a\\n\\r\\t\\\"\\\\\\u0000\\u001b[2J\\u007f\\ufffd\\ufffd("
			  "\\ufffd\\ufffd\\ufffd\\u009b\xc2\xa0\"}\n"));
	CU_ASSERT_PTR_EQUAL(strchr(s.ptr, '\n'), s.ptr + s.len - 1);
	close_log();
}

static void
lines_below_the_level_are_not_written(void)
{
	open_log(LOG_LEVEL_WARN, false);
	log_debug("no", LOG_INT("n", 1));
	log_info("no", LOG_INT("n", 1));
	CU_ASSERT_EQUAL(read_log().len, 0);
	CU_ASSERT_FALSE(log_enabled(LOG_LEVEL_INFO));
	CU_ASSERT_TRUE(log_enabled(LOG_LEVEL_WARN));
	log_error("yes", LOG_INT("n", 1));
	CU_ASSERT_EQUAL(count_good_lines(), 1);
	close_log();
}

/* Logs ${unit} repeated, at every length around the line's bound; true when all lines are good. */
static bool
survives_cutting(const char *unit)
{
	struct strbuf value = STRBUF_INIT(1 << 20);
	bool good;

	open_log(LOG_LEVEL_INFO, false);
	for (int i = 0; i < 8300; i++) {
		strbuf_add_cstr(&value, unit);
		if (i >= 8000 || (i >= 1200 && i % 7 == 0))
			log_info("long", LOG_SLICE("v", strbuf_slice(&value)), LOG_INT("n", i));
	}
	good = count_good_lines() == 300 + 971;
	strbuf_free(&value);
	return good && strstr(content, "\"n\":8299") == NULL;
}

static void
a_line_too_long_is_cut_and_stays_well_formed(void)
{
	CU_ASSERT_TRUE(survives_cutting("x"));
	CU_ASSERT_PTR_NOT_NULL(strstr(content, "x\",\"n\":8000}\n")); /* this one was whole */
	CU_ASSERT_PTR_NOT_NULL(strstr(content, "x\",\"truncated\":true}\n"));
	CU_ASSERT_TRUE(survives_cutting("\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(content, "\\\"\",\"truncated\":true}\n"));
	CU_ASSERT_TRUE(survives_cutting("\xe2\x82\xac"));
	CU_ASSERT_PTR_NOT_NULL(strstr(content, "\xac\",\"truncated\":true}\n"));
	CU_ASSERT_TRUE(survives_cutting("\xff"));
	CU_ASSERT_PTR_NOT_NULL(strstr(content, "\\ufffd\",\"truncated\":true}\n"));
	close_log();
}

static void
a_cut_line_of_text_is_one_line_too(void)
{
	static char word[9000];
	struct slice s;

	memset(word, 'w', sizeof word - 1);
	open_log(LOG_LEVEL_INFO, true);
	log_info("long", LOG_STR("v", word), LOG_INT("n", 1));
	s = read_log();
	CU_ASSERT_TRUE(s.len < 8300);
	CU_ASSERT_PTR_EQUAL(strchr(s.ptr, '\n'), s.ptr + s.len - 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.ptr, " v=\"www"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.ptr, "w\" truncated=true\n"));
	close_log();
}

static void
the_file_is_private_and_appended_to(void)
{
	const mode_t mask = umask(0);
	struct stat st;

	open_log(LOG_LEVEL_INFO, false);
	log_info("one", LOG_INT("n", 1));
	CU_ASSERT_EQUAL(log_open(&(struct log_options){ .file = path }), ERR_OK);
	log_info("two", LOG_INT("n", 2));
	CU_ASSERT_EQUAL(count_good_lines(), 2);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	(void)umask(mask);
	close_log();
}

static void
reopening_follows_the_name(void)
{
	char old[4300];

	open_log(LOG_LEVEL_INFO, false);
	(void)snprintf(old, sizeof old, "%s.1", path);
	log_info("one", LOG_INT("n", 1));
	CU_ASSERT_EQUAL(rename(path, old), 0);
	log_info("two", LOG_INT("n", 2));
	CU_ASSERT_EQUAL(log_reopen(), ERR_OK);
	log_info("three", LOG_INT("n", 3));
	CU_ASSERT_EQUAL(count_good_lines(), 1);
	CU_ASSERT_EQUAL(rename(old, path), 0);
	CU_ASSERT_EQUAL(count_good_lines(), 2);
	close_log();
	CU_ASSERT_EQUAL(log_reopen(), ERR_OK); /* stderr has no name to follow */
}

static void
a_failed_open_keeps_the_old_file(void)
{
	char dir[4100], moved[4100];

	(void)snprintf(dir, sizeof dir, "%s/d", unit_dir());
	(void)snprintf(moved, sizeof moved, "%s/e", unit_dir());
	CU_ASSERT_EQUAL(mkdir(dir, 0700), 0);
	(void)snprintf(path, sizeof path, "%s/log", dir);
	CU_ASSERT_EQUAL(log_open(&(struct log_options){ .file = path }), ERR_OK);
	CU_ASSERT_EQUAL(rename(dir, moved), 0);
	CU_ASSERT_EQUAL(log_reopen(), ERR_IO);
	CU_ASSERT_EQUAL(log_open(&(struct log_options){ .file = path, .text = true }), ERR_IO);
	log_info("still", LOG_INT("n", 1));
	(void)snprintf(path, sizeof path, "%s/log", moved);
	CU_ASSERT_EQUAL(count_good_lines(), 1);
	close_log();
}

static void
held_lines_go_out_together(void)
{
	open_log(LOG_LEVEL_INFO, false);
	log_hold();
	log_info("one", LOG_INT("n", 1));
	log_info("two", LOG_INT("n", 2));
	CU_ASSERT_EQUAL(read_log().len, 0);
	log_release();
	CU_ASSERT_EQUAL(count_good_lines(), 2);
	log_info("three", LOG_INT("n", 3));
	CU_ASSERT_EQUAL(count_good_lines(), 3);
	log_release();
	CU_ASSERT_EQUAL(count_good_lines(), 3);
	close_log();
}

static void
a_full_hold_is_written_whole_line_by_whole_line(void)
{
	size_t before;

	open_log(LOG_LEVEL_INFO, false);
	log_hold();
	for (int i = 0; i < 2000; i++)
		log_info("line", LOG_INT("n", i));
	before = count_good_lines();
	CU_ASSERT_TRUE(before > 0 && before < 2000);
	CU_ASSERT_TRUE(read_log().len > 60000);
	CU_ASSERT_EQUAL(content[read_log().len - 1], '\n');
	log_release();
	CU_ASSERT_EQUAL(count_good_lines(), 2000);
	close_log();
}

enum { WRITERS = 4, LINES = 2000 };

static void *
write_many(void *held)
{
	static const char filler[] = "0123456789012345678901234567890123456789";

	for (int i = 0; i < LINES; i++) {
		if (held != NULL && i % 50 == 0)
			log_hold();
		log_info("many", LOG_INT("n", i), LOG_STR("filler", filler));
		if (held != NULL && i % 50 == 49)
			log_release();
	}
	return NULL;
}

static void
lines_of_threads_and_processes_never_mix(void)
{
	pthread_t threads[WRITERS];
	pid_t child;

	open_log(LOG_LEVEL_INFO, false);
	child = fork();
	if (child == 0) {
		(void)write_many(NULL);
		_exit(0);
	}
	for (size_t i = 0; i < WRITERS; i++)
		CU_ASSERT_EQUAL_FATAL(
		    pthread_create(&threads[i], NULL, write_many, i % 2 == 0 ? NULL : path), 0);
	for (int i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(log_reopen(), ERR_OK);
	for (size_t i = 0; i < WRITERS; i++)
		(void)pthread_join(threads[i], NULL);
	CU_ASSERT_EQUAL(waitpid(child, NULL, 0), child);
	CU_ASSERT_EQUAL(count_good_lines(), (WRITERS + 1) * LINES);
	close_log();
}

static void
logging_leaves_errno_alone(void)
{
	open_log(LOG_LEVEL_INFO, false);
	errno = ENOENT;
	log_info("x", LOG_INT("n", 1));
	CU_ASSERT_EQUAL(errno, ENOENT);
	close_log();
	CU_ASSERT_EQUAL(log_open(&(struct log_options){ .file = "/dev/full" }), ERR_OK);
	errno = ENOENT;
	log_info("x", LOG_INT("n", 1)); /* the disk is full: nothing to do about it here */
	CU_ASSERT_EQUAL(errno, ENOENT);
	close_log();
}

static void
a_second_file_has_its_own_lines_and_follows_its_name_too(void)
{
	const struct log_field fields[] = { LOG_STR("k", "v") };
	char second[4300], moved[4400], text[4096] = "";
	struct log_file *f = NULL;
	FILE *in;

	open_log(LOG_LEVEL_ERROR, true);
	(void)snprintf(second, sizeof second, "%s.second", path);
	(void)snprintf(moved, sizeof moved, "%s.moved", second);
	CU_ASSERT_EQUAL_FATAL(log_file_open(second, &f), ERR_OK);
	log_file_write(f, LOG_LEVEL_WARN, "first", fields, 1); /* the log's level is not its own */
	CU_ASSERT_EQUAL(rename(second, moved), 0);
	CU_ASSERT_EQUAL(log_file_reopen(f), ERR_OK);
	log_file_write(f, LOG_LEVEL_WARN, "later", fields, 1);
	in = fopen(second, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(in);
	CU_ASSERT_PTR_NOT_NULL(fgets(text, sizeof text, in));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, " WARN later pid="));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, " k=v\n"));
	CU_ASSERT_PTR_NULL(fgets(text, sizeof text, in));
	(void)fclose(in);
	CU_ASSERT_EQUAL(read_log().len, 0);
	log_file_close(&f);
	CU_ASSERT_PTR_NULL(f);
	log_file_close(&f);
	CU_ASSERT_EQUAL(log_file_open("/nowhere/at/all", &f), ERR_IO);
	(void)unlink(second);
	(void)unlink(moved);
	close_log();
}

static void
a_gate_opens_once_a_second_and_says_what_it_held_back(void)
{
	struct log_gate gate = { 0 };
	uint64_t held = 99;

	CU_ASSERT_TRUE(log_gate_open(&gate, 5000, &held));
	CU_ASSERT_EQUAL(held, 0);
	CU_ASSERT_FALSE(log_gate_open(&gate, 5000, &held));
	CU_ASSERT_FALSE(log_gate_open(&gate, 5999, &held));
	CU_ASSERT_TRUE(log_gate_open(&gate, 6000, &held));
	CU_ASSERT_EQUAL(held, 2);
	CU_ASSERT_TRUE(log_gate_open(&gate, 60000, &held));
	CU_ASSERT_EQUAL(held, 0);
}

UNIT_SUITE(log, TEST(a_json_line_has_its_fields_in_order),
    TEST(a_text_line_quotes_only_what_is_no_word), TEST(hostile_bytes_stay_inside_their_value),
    TEST(lines_below_the_level_are_not_written), TEST(a_line_too_long_is_cut_and_stays_well_formed),
    TEST(a_cut_line_of_text_is_one_line_too), TEST(the_file_is_private_and_appended_to),
    TEST(reopening_follows_the_name), TEST(a_failed_open_keeps_the_old_file),
    TEST(held_lines_go_out_together), TEST(a_full_hold_is_written_whole_line_by_whole_line),
    TEST(lines_of_threads_and_processes_never_mix), TEST(logging_leaves_errno_alone),
    TEST(a_second_file_has_its_own_lines_and_follows_its_name_too),
    TEST(a_gate_opens_once_a_second_and_says_what_it_held_back));
