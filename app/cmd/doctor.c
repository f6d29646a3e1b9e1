/*
 * weir doctor: what will bite, with the line to add.
 *
 * The front server is found as it runs: its process says which configuration it was started with.
 */
#include "cmd/doctor.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/str.h"
#include "cmd/begin.h"
#include "cmd/command.h"
#include "runtime/config.h"

enum { OPTION_NGINX, OPTION_APACHE };

enum { ARENA_BYTES_MAX = 64 << 20, COMMAND_BYTES = 4096, FRONTS_RUNNING_MAX = 16 };

/* A front server that we know. */
struct front {
	const char *name;
	enum front_syntax syntax;
	const char *const *processes; /* as /proc/PID/comm names them */
	const char *file, *folder;    /* when its process does not say: Debian's */
	char file_option, folder_option;
	/* Returns how many places pass requests to weir. */
	size_t (*look)(
	    const struct config *c, const struct front_config *front, struct fault_list *findings);
};

static const char *const nginx_processes[] = { "nginx", NULL }, *const apache_processes[] = {
	"apache2", "httpd", NULL
};

static const struct front fronts[] = {
	[OPTION_NGINX] = { "nginx", FRONT_NGINX, nginx_processes, "/etc/nginx/nginx.conf",
	    "/etc/nginx", 'c', 'p', doctor_nginx },
	[OPTION_APACHE] = { "Apache", FRONT_APACHE, apache_processes, "/etc/apache2/apache2.conf",
	    "/etc/apache2", 'f', 'd', doctor_apache },
};

enum { FRONTS = sizeof fronts / sizeof *fronts };

/*
 * Which one runs, and with what.
 */
static ssize_t
read_proc(const char *pid, const char *name, char *out, size_t bytes)
{
	char path[64];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof path, "/proc/%.20s/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	n = read(fd, out, bytes - 1);
	(void)close(fd);
	out[n < 0 ? 0 : n] = '\0';
	return n;
}

static bool
is_process_of(const struct front *f, const char *pid)
{
	char comm[64];

	if (*pid < '0' || *pid > '9' || read_proc(pid, "comm", comm, sizeof comm) <= 0)
		return false;
	comm[strcspn(comm, "\n")] = '\0';
	for (size_t i = 0; f->processes[i] != NULL; i++)
		if (strcmp(comm, f->processes[i]) == 0)
			return true;
	return false;
}

/* The word behind -${letter} in a command line of words, each ended by NUL or a space (nginx writes its own title). */
static struct slice
option_of(struct slice words, char letter)
{
	const char option[] = { '-', letter, '\0' };
	bool next = false;

	while (words.len > 0) {
		size_t n = 0;
		struct slice word;

		while (n < words.len && words.ptr[n] != '\0' && words.ptr[n] != ' ')
			n++;
		word = (struct slice){ words.ptr, n };
		if (next)
			return word;
		next = slice_eq_cstr(word, option);
		n += n < words.len;
		words.ptr += n;
		words.len -= n;
	}
	return (struct slice){ 0 };
}

/* A worker of nginx has no options in its title. */
static bool
read_options(const struct front *f, const char *pid, struct arena *a, const char **file_out,
    const char **folder_out)
{
	char words[COMMAND_BYTES];
	const ssize_t n = read_proc(pid, "cmdline", words, sizeof words);
	const struct slice line = { words, n < 0 ? 0 : (size_t)n };
	const struct slice file = option_of(line, f->file_option),
			   folder = option_of(line, f->folder_option);

	if (n <= 0 || memmem(words, (size_t)n, "worker process", 14) != NULL)
		return false;
	*folder_out = folder.ptr == NULL ? f->folder : arena_copy(a, folder);
	*file_out = file.ptr == NULL ? f->file : arena_copy(a, file);
	return true;
}

/*
 * Looking.
 */
struct look {
	const struct config *c;
	struct arena *a;
	struct fault_list *findings;
	size_t fronts, places; /* that were looked at, and pass requests to weir */
};

static void
look_at_file(struct look *l, const struct front *f, const char *file, const char *folder)
{
	struct front_config front;
	const char *where;
	const enum err rc = front_config_read(f->syntax, file, folder, l->a, &front, &where);

	l->fronts++;
	if (rc == ERR_OK)
		l->places += f->look(l->c, &front, l->findings);
	else
		fault_warn(l->findings, where, 0,
		    "cannot be read (%s), expected the configuration of %s", err_name(rc), f->name);
}

/* The folder that ${file} is in: what is included is told from there when nobody says otherwise. */
static const char *
folder_of(const char *file, struct arena *a)
{
	const char *slash = strrchr(file, '/');

	return slash == NULL ? "." : arena_copy(a, (struct slice){ file, (size_t)(slash - file) });
}

static void
look_at_named(struct look *l, const struct front *f, const struct command_given *files)
{
	for (size_t i = 0; i < files->count; i++)
		look_at_file(l, f, files->values[i], folder_of(files->values[i], l->a));
}

/* Each configuration once, however many processes run on it. */
static void
look_at_running(struct look *l, const struct front *f)
{
	const char *seen[FRONTS_RUNNING_MAX], *file, *folder;
	DIR *proc = opendir("/proc");
	const struct dirent *entry;
	size_t n = 0;

	while (proc != NULL && n < FRONTS_RUNNING_MAX && (entry = readdir(proc)) != NULL) {
		bool known = false;

		if (!is_process_of(f, entry->d_name) ||
		    !read_options(f, entry->d_name, l->a, &file, &folder) || file == NULL)
			continue;
		for (size_t i = 0; i < n; i++)
			known = known || strcmp(seen[i], file) == 0;
		if (known)
			continue;
		seen[n++] = file;
		look_at_file(l, f, file, folder);
	}
	if (proc != NULL)
		(void)closedir(proc);
}

static void
look_at_fronts(struct look *l, const struct command_line *line)
{
	const bool named = line->given[OPTION_NGINX].count + line->given[OPTION_APACHE].count > 0;

	for (size_t i = 0; i < FRONTS; i++)
		if (named)
			look_at_named(l, &fronts[i], &line->given[i]);
		else
			look_at_running(l, &fronts[i]);
	if (l->fronts > 0 && l->places == 0)
		fault_warn(l->findings, "WEIR_LISTEN", 0,
		    "no front server that was looked at passes requests to %s; add to a location "
		    "of "
		    "nginx: include fastcgi_weir.conf; fastcgi_pass %s;",
		    l->c->listen, l->c->listen);
}

static enum exit_code
run(const struct command_line *line)
{
	struct config *c = NULL;
	struct fault_list findings;
	enum exit_code rc = begin_command(line, NULL, 0, &c);
	struct arena a;
	struct look look = { .c = c, .a = &a, .findings = &findings };

	if (rc != EXIT_CODE_DONE)
		return rc;
	fault_init(&findings);
	arena_init(&a, ARENA_BYTES_MAX);
	look_at_fronts(&look, line);
	doctor_machine(c, &findings);
	doctor_servers(c, &findings);
	fault_print(&findings, STDOUT_FILENO);
	if (look.fronts == 0)
		(void)printf("no nginx and no Apache runs here: name a configuration with --nginx "
			     "or --apache\n");
	if (findings.count == 0)
		(void)printf("nothing that will bite was found\n");
	rc = findings.errors > 0 ? EXIT_CODE_FAILED : EXIT_CODE_DONE;
	fault_free(&findings);
	arena_free(&a);
	config_free(&c);
	return rc;
}

const struct command command_doctor = {
	.name = "doctor",
	.operands = "",
	.summary = "Looks at the front server and the settings, and says what will bite",
	.help = "Each line names the place, what will happen, and the line to add.  Without an option the\n"
		"nginx and the Apache that run on this machine are looked at; their files must be\n"
		"readable.  Nothing is changed.  Exit code 1 when something is an error.\n",
	.options = {
		[OPTION_NGINX] = { "--nginx", "F", "look at this nginx.conf", true },
		[OPTION_APACHE] = { "--apache", "F", "look at this httpd.conf or .htaccess", true },
	},
	.run = run,
};
