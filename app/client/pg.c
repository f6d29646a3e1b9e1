/*
 * PostgreSQL, and nobody else includes libpq's header.
 *
 * libpq only ever sees sockets that do not block; waiting is one function here,
 * exchange(), and it looks at the clock each time.  What a SQLSTATE means for a
 * batch is decided above; here it is only read.
 */
#include "client/pg.h"

#include <errno.h>

#include <limits.h>
#include <poll.h>
#include <postgresql/libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"

enum { MAX_PARAMETER_BYTES = 1 << 30 };

/* What was sent and not fetched yet: for messages. */
struct sent {
	const char *name, *sql;
};

struct pg {
	PGconn *conn;
	int64_t deadline_ms;
	bool quiet, dead;
	bool streaming;	 /* pg_stream() is inside a statement */
	unsigned synced; /* pg_sync() whose answer was not read yet */
	struct sent *sent;
	size_t sent_count, sent_cap, next;
	struct arena arena; /* parameters on their way to libpq */
	struct pg_fault fault;
	char peer[160];
};

static void
say(const struct pg *p, const char *event, const char *name)
{
	static struct log_gate gate;
	uint64_t held;

	if (p->quiet || !log_gate_open(&gate, clock_mono_ms(), &held))
		return;
	log_warn(event, LOG_STR("server", p->peer), LOG_STR("statement", name),
	    LOG_STR("sqlstate", p->fault.sqlstate), LOG_STR("reason", p->fault.message),
	    LOG_INT("held_back", held));
}

/* One line of ${text}, which may have several. */
static void
note(struct pg *p, const char *sqlstate, const char *text)
{
	char *end;

	p->fault = (struct pg_fault){ .offset = -1 };
	(void)snprintf(p->fault.sqlstate, sizeof p->fault.sqlstate, "%s", sqlstate);
	(void)snprintf(p->fault.message, sizeof p->fault.message, "%s", text);
	end = p->fault.message + strlen(p->fault.message);
	while (end > p->fault.message && (end[-1] == '\n' || end[-1] == ' '))
		*--end = '\0';
	for (char *c = p->fault.message; *c != '\0'; c++)
		if (*c == '\n' || *c == '\t')
			*c = ' ';
}

static const char *
name_in_hand(const struct pg *p)
{
	return p->next < p->sent_count ? p->sent[p->next].name : "";
}

static enum err
lost(struct pg *p)
{
	const char *why = PQerrorMessage(p->conn);

	p->dead = true;
	note(p, "08006", *why == '\0' ? "the server closed the connection" : why);
	say(p, "pg_lost", name_in_hand(p));
	return ERR_UNAVAILABLE;
}

static enum err
late(struct pg *p, const char *event, const char *sqlstate)
{
	p->dead = true; /* the answer may still come, and must not be taken for another's */
	note(p, sqlstate, "no answer before the deadline");
	say(p, event, name_in_hand(p));
	return ERR_TIMEOUT;
}

/* Waits for ${events} on the socket.  False: the deadline. */
static bool
wait_for(const struct pg *p, short events, short *got_out)
{
	for (;;) {
		struct pollfd f = { .fd = PQsocket(p->conn), .events = events };
		const int64_t left_ms = p->deadline_ms - clock_mono_ms();
		int n;

		if (left_ms <= 0)
			return false;
		n = poll(&f, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
		*got_out = f.revents;
		if (n > 0 || (n == -1 && errno != EINTR))
			return true; /* also an error of poll: libpq will meet it too and say it */
	}
}

/* ---- Connecting -------------------------------------------------------------- */

/*
 * libpq keeps no SQLSTATE of a failed connect, but writes it into a verbose message:
 * `... failed: FATAL:  28P01: password authentication failed`.
 */
static const char *
sqlstate_in(const char *message, char out[6])
{
	static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (const char *at = strstr(message, ":  "); at != NULL; at = strstr(at + 3, ":  "))
		if (strspn(at + 3, letters) == 5 && at[8] == ':') {
			memcpy(out, at + 3, 5);
			out[5] = '\0';
			return out;
		}
	return "08001";
}

static enum err
refused(struct pg *p)
{
	char sqlstate[6];
	char text[512];
	char *location;

	(void)snprintf(text, sizeof text, "%s", PQerrorMessage(p->conn));
	location = strstr(text, "\nLOCATION:");
	if (location != NULL)
		*location = '\0';
	p->dead = true;
	note(p, sqlstate_in(text, sqlstate), text);
	say(p, "pg_connect_failed", "");
	return ERR_UNAVAILABLE;
}

static void
ignore_notice(void *ctx, const PGresult *r)
{
	(void)ctx;
	(void)r;
}

/* NULL without memory. */
static PGconn *
start(const struct pg_address *a)
{
	char port[8];
	/* GSS would ask other servers first, in calls that block. */
	const char *const words[] = { "host", "hostaddr", "port", "user", "password", "dbname",
		"sslmode", "sslrootcert", "application_name", "client_encoding", "gssencmode",
		NULL };
	const char *const values[] = { a->host, a->numeric, port, a->user, a->password, a->database,
		a->tls_mode, a->tls_root, "weir", "UTF8", "disable", NULL };

	(void)snprintf(port, sizeof port, "%u", a->port);
	return PQconnectStartParams(words, values, 0);
}

static enum err
connect_by_deadline(struct pg *p)
{
	PostgresPollingStatusType step = PGRES_POLLING_WRITING;
	short got;

	if (PQstatus(p->conn) == CONNECTION_BAD)
		return refused(p);
	(void)PQsetNoticeReceiver(p->conn, ignore_notice, NULL);
	(void)PQsetErrorVerbosity(p->conn, PQERRORS_VERBOSE);
	while (step != PGRES_POLLING_OK) {
		if (!wait_for(p, step == PGRES_POLLING_READING ? POLLIN : POLLOUT, &got))
			return late(p, "pg_connect_failed", "08001");
		step = PQconnectPoll(p->conn);
		if (step == PGRES_POLLING_FAILED)
			return refused(p);
	}
	(void)PQsetErrorVerbosity(p->conn, PQERRORS_DEFAULT);
	if (PQsetnonblocking(p->conn, 1) != 0 || PQenterPipelineMode(p->conn) != 1)
		return lost(p);
	return ERR_OK;
}

enum err
pg_connect(const struct pg_address *a, bool quiet, int64_t deadline_ms, struct pg **out,
    struct pg_fault *why_out)
{
	struct pg *p = calloc(1, sizeof *p);
	enum err rc;

	if (p == NULL)
		return ERR_NOMEM;
	p->quiet = quiet;
	p->deadline_ms = deadline_ms;
	arena_init(&p->arena, MAX_PARAMETER_BYTES);
	(void)snprintf(p->peer, sizeof p->peer, "%s:%u", a->host, a->port);
	p->conn = start(a);
	rc = p->conn == NULL ? ERR_NOMEM : connect_by_deadline(p);
	if (rc == ERR_OK) {
		*out = p;
		return ERR_OK;
	}
	if (why_out != NULL)
		*why_out = p->fault;
	pg_close(&p);
	return rc;
}

void
pg_close(struct pg **pp)
{
	struct pg *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	PQfinish(p->conn); /* sends its farewell without waiting: the socket does not block */
	arena_free(&p->arena);
	free(p->sent);
	free(p);
}

void
pg_deadline(struct pg *p, int64_t deadline_ms)
{
	p->deadline_ms = deadline_ms;
}

bool
pg_is_dead(const struct pg *p)
{
	return p->dead;
}

bool
pg_is_fresh(struct pg *p)
{
	struct pollfd f = { .fd = PQsocket(p->conn), .events = POLLIN };

	if (p->dead || f.fd == -1)
		return false;
	/* A notice or a changed setting may have come; behind a farewell stands the end of the stream. */
	while (!p->dead && poll(&f, 1, 0) > 0)
		p->dead = PQconsumeInput(p->conn) == 0 || PQisBusy(p->conn) != 0;
	return !p->dead;
}

const struct pg_fault *
pg_last_fault(const struct pg *p)
{
	return &p->fault;
}

/* ---- Sending ------------------------------------------------------------------- */

/* libpq's way to take parameters: one array for each property. */
struct packed {
	Oid *oids;
	const char **values;
	int *lengths, *formats;
};

static enum err
pack_one(struct pg *p, const struct pg_param *from, struct packed *to, size_t i)
{
	to->oids[i] = from->oid;
	to->formats[i] = from->binary ? 1 : 0;
	to->lengths[i] = (int)from->value.len;
	if (from->null)
		return ERR_OK;
	if (!from->binary && from->value.len > 0 &&
	    memchr(from->value.ptr, '\0', from->value.len) != NULL) {
		note(p, "22021", "a text with a NUL character inside");
		return ERR_INVALID;
	}
	to->values[i] = arena_copy(&p->arena, from->value);
	return to->values[i] == NULL ? ERR_NOMEM : ERR_OK;
}

static enum err
pack(struct pg *p, const struct pg_statement *s, struct packed *out)
{
	enum err rc = ERR_OK;

	arena_reset(&p->arena);
	out->oids = arena_alloc(&p->arena, s->count * sizeof *out->oids);
	out->values = arena_alloc(&p->arena, s->count * sizeof *out->values);
	out->lengths = arena_alloc(&p->arena, s->count * sizeof *out->lengths);
	out->formats = arena_alloc(&p->arena, s->count * sizeof *out->formats);
	if (p->arena.overflowed)
		return ERR_NOMEM;
	for (size_t i = 0; i < s->count && rc == ERR_OK; i++)
		rc = pack_one(p, &s->params[i], out, i);
	return rc;
}

static bool
remember(struct pg *p, const struct pg_statement *s)
{
	if (p->sent_count == p->sent_cap) {
		const size_t wanted = p->sent_cap == 0 ? 8 : p->sent_cap * 2;
		struct sent *wider = reallocarray(p->sent, wanted, sizeof *wider);

		if (wider == NULL)
			return false;
		p->sent = wider;
		p->sent_cap = wanted;
	}
	p->sent[p->sent_count++] = (struct sent){ s->name, s->sql };
	return true;
}

/* What all calls that send begin with; a failure here leaves the connection as it was. */
static enum err
begin_sending(struct pg *p, const struct pg_statement *s, struct packed *out)
{
	enum err rc;

	if (p->dead)
		return lost(p);
	rc = pack(p, s, out);
	if (rc == ERR_OK && !remember(p, s))
		rc = ERR_NOMEM;
	if (rc == ERR_INVALID)
		say(p, "pg_failed", s->name);
	else if (rc != ERR_OK)
		note(p, "53200", "no memory for the statement");
	return rc;
}

enum err
pg_send(struct pg *p, const struct pg_statement *s)
{
	struct packed to;
	const enum err rc = begin_sending(p, s, &to);

	if (rc != ERR_OK)
		return rc;
	if (PQsendQueryParams(
		p->conn, s->sql, (int)s->count, to.oids, to.values, to.lengths, to.formats, 0) != 1)
		return lost(p);
	return ERR_OK;
}

enum err
pg_hurry(struct pg *p)
{
	return p->dead || PQsendFlushRequest(p->conn) != 1 ? lost(p) : ERR_OK;
}

enum err
pg_send_parse(struct pg *p, const struct pg_statement *s)
{
	struct packed to;
	const enum err rc = begin_sending(p, s, &to);

	if (rc != ERR_OK)
		return rc;
	return PQsendPrepare(p->conn, "", s->sql, (int)s->count, to.oids) == 1 ? ERR_OK : lost(p);
}

enum err
pg_send_again(struct pg *p, const struct pg_statement *s)
{
	struct packed to;
	const enum err rc = begin_sending(p, s, &to);

	if (rc != ERR_OK)
		return rc;
	return PQsendQueryPrepared(
		   p->conn, "", (int)s->count, to.values, to.lengths, to.formats, 0) == 1
		   ? ERR_OK
		   : lost(p);
}

enum err
pg_sync(struct pg *p)
{
	if (p->dead || PQpipelineSync(p->conn) != 1)
		return lost(p);
	p->synced++;
	return ERR_OK;
}

/* ---- Fetching ------------------------------------------------------------------ */

/* Sends what is left to send and takes what has come; waits for one of them. */
static enum err
exchange(struct pg *p)
{
	const int unsent = PQflush(p->conn);
	short got = 0;

	if (unsent < 0)
		return lost(p);
	if (!wait_for(p, unsent > 0 ? POLLIN | POLLOUT : POLLIN, &got))
		return late(p, "pg_late", "08006");
	if ((got & ~POLLOUT) != 0 && PQconsumeInput(p->conn) != 1)
		return lost(p);
	return ERR_OK;
}

/* libpq's next result; NULL is the end of a statement. */
static enum err
next_result(struct pg *p, PGresult **out)
{
	if (p->dead)
		return lost(p);
	while (PQisBusy(p->conn)) {
		const enum err rc = exchange(p);

		if (rc != ERR_OK)
			return rc;
	}
	*out = PQgetResult(p->conn);
	return ERR_OK;
}

/* The byte that PostgreSQL's ${position} (characters, from 1) means in ${sql}. */
static int
byte_of(const char *sql, const char *position)
{
	long left = position == NULL ? 0 : strtol(position, NULL, 10);
	int at = 0;

	if (left < 1 || sql == NULL)
		return -1;
	for (; --left > 0 && sql[at] != '\0';)
		do
			at++;
		while ((sql[at] & 0xc0) == 0x80);
	return at;
}

static enum err
err_of(const char *sqlstate)
{
	static const char *const classes[] = { "21", "22", "23", "39", "44", "54", "P0" };

	for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return ERR_INVALID;
	return strcmp(sqlstate, "57014") == 0 ? ERR_TIMEOUT : ERR_UNAVAILABLE;
}

/* Reads the failure of the statement in hand. */
static enum err
failed(struct pg *p, const PGresult *r)
{
	const char *sqlstate = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (sqlstate == NULL)
		return lost(p);
	note(p, sqlstate, text == NULL ? "" : text);
	if (p->next < p->sent_count)
		p->fault.offset = byte_of(
		    p->sent[p->next].sql, PQresultErrorField(r, PG_DIAG_STATEMENT_POSITION));
	/* After FATAL and PANIC the server closes, which has perhaps not reached us yet. */
	p->dead = PQstatus(p->conn) == CONNECTION_BAD ||
		  (severity != NULL && strcmp(severity, "ERROR") != 0);
	say(p, p->dead ? "pg_lost" : "pg_failed", name_in_hand(p));
	return err_of(p->fault.sqlstate);
}

static enum err
judge(struct pg *p, const PGresult *r)
{
	switch (PQresultStatus(r)) {
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_SINGLE_TUPLE:
	case PGRES_EMPTY_QUERY:
		return ERR_OK;
	case PGRES_PIPELINE_ABORTED:
		return ERR_CONFLICT;
	case PGRES_COPY_OUT: /* not in a pipeline: libpq has made the connection unusable */
	case PGRES_COPY_IN:
	case PGRES_COPY_BOTH:
	case PGRES_PIPELINE_SYNC: /* somebody fetches more than was sent */
	case PGRES_BAD_RESPONSE:
		p->dead = true;
		note(p, "08P01", "an answer out of order");
		say(p, "pg_lost", name_in_hand(p));
		return ERR_UNAVAILABLE;
	case PGRES_NONFATAL_ERROR:
	case PGRES_FATAL_ERROR:
		break;
	}
	return failed(p, r);
}

/* Takes the NULL behind a statement's last result. */
static enum err
end_statement(struct pg *p, enum err so_far)
{
	PGresult *r = NULL;
	enum err rc = p->dead ? so_far : next_result(p, &r);

	p->streaming = false;
	p->next++;
	if (r == NULL)
		return rc == ERR_OK ? so_far : rc;
	PQclear(r); /* a second result, which one statement does not have */
	return lost(p);
}

enum err
pg_fetch(struct pg *p, struct pg_result **out)
{
	PGresult *r = NULL;
	enum err rc = next_result(p, &r);

	if (rc == ERR_OK)
		rc = end_statement(p, r == NULL ? lost(p) : judge(p, r));
	if (rc == ERR_OK && out != NULL)
		*out = r;
	else
		PQclear(r);
	return rc;
}

enum err
pg_stream(struct pg *p, struct pg_result **out, bool *row_out)
{
	PGresult *r = NULL;
	enum err rc;

	if (!p->dead && !p->streaming)
		p->streaming = PQsetSingleRowMode(p->conn) == 1;
	rc = next_result(p, &r);
	if (rc != ERR_OK)
		return rc;
	if (r != NULL && PQresultStatus(r) == PGRES_SINGLE_TUPLE) {
		*row_out = true;
		*out = r;
		return ERR_OK;
	}
	rc = end_statement(p, r == NULL ? lost(p) : judge(p, r));
	if (rc != ERR_OK) {
		PQclear(r);
		return rc;
	}
	*row_out = false;
	*out = r;
	return ERR_OK;
}

enum err
pg_finish(struct pg *p)
{
	bool ended = false; /* the result before was an end */
	enum err rc = ERR_OK;

	while (p->synced > 0) {
		PGresult *r = NULL;

		rc = next_result(p, &r);
		if (rc != ERR_OK)
			break;
		if (PQresultStatus(r) == PGRES_PIPELINE_SYNC)
			p->synced--;
		else if ((r == NULL && ended) || PQstatus(p->conn) == CONNECTION_BAD)
			rc = lost(p);
		ended = r == NULL;
		PQclear(r);
		if (rc != ERR_OK)
			break;
	}
	p->streaming = false;
	p->sent_count = p->next = 0;
	return rc;
}

bool
pg_in_transaction(const struct pg *p)
{
	const PGTransactionStatusType s = PQtransactionStatus(p->conn);

	return !p->dead && (s == PQTRANS_INTRANS || s == PQTRANS_INERROR);
}

/* What follows a statement that was sent alone; the first failure counts. */
static enum err
run_to_end(struct pg *p, struct pg_result **out)
{
	struct pg_result *r = NULL;
	enum err rc = pg_fetch(p, &r), end;

	if (!p->dead) {
		end = pg_finish(p);
		rc = rc == ERR_OK ? end : rc;
	}
	if (rc == ERR_OK && out != NULL)
		*out = r;
	else
		PQclear(r);
	return rc;
}

enum err
pg_run(struct pg *p, const struct pg_statement *s, struct pg_result **out)
{
	enum err rc = pg_send(p, s);

	if (rc == ERR_OK)
		rc = pg_sync(p);
	return rc == ERR_OK ? run_to_end(p, out) : rc;
}

enum err
pg_describe(struct pg *p, const struct pg_statement *s, struct pg_result **out)
{
	struct packed to;
	struct pg_result *parsed = NULL;
	enum err rc = begin_sending(p, s, &to);

	if (rc != ERR_OK)
		return rc;
	if (PQsendPrepare(p->conn, "", s->sql, (int)s->count, to.oids) != 1 ||
	    PQsendDescribePrepared(p->conn, "") != 1)
		return lost(p);
	rc = pg_sync(p);
	if (rc == ERR_OK)
		rc = pg_fetch(p, &parsed);
	pg_result_free(&parsed);
	if (rc == ERR_OK)
		return run_to_end(p, out);
	if (!p->dead)
		(void)pg_finish(p);
	return rc;
}

/* ---- Results ------------------------------------------------------------------- */

void
pg_result_free(struct pg_result **rp)
{
	PQclear(*rp);
	*rp = NULL;
}

size_t
pg_rows(const struct pg_result *r)
{
	return (size_t)PQntuples(r);
}

size_t
pg_columns(const struct pg_result *r)
{
	return (size_t)PQnfields(r);
}

const char *
pg_column_name(const struct pg_result *r, size_t column)
{
	return PQfname(r, (int)column);
}

uint32_t
pg_column_oid(const struct pg_result *r, size_t column)
{
	return PQftype(r, (int)column);
}

bool
pg_is_null(const struct pg_result *r, size_t row, size_t column)
{
	return PQgetisnull(r, (int)row, (int)column) == 1;
}

struct slice
pg_text(const struct pg_result *r, size_t row, size_t column)
{
	return (struct slice){ PQgetvalue(r, (int)row, (int)column),
		(size_t)PQgetlength(r, (int)row, (int)column) };
}

int64_t
pg_affected(const struct pg_result *r)
{
	/* libpq asks for a result that may be changed, and changes none. */
	union {
		const struct pg_result *shown;
		struct pg_result *r;
	} same = { r };

	return strtoll(PQcmdTuples(same.r), NULL, 10);
}

size_t
pg_params(const struct pg_result *r)
{
	return (size_t)PQnparams(r);
}

uint32_t
pg_param_oid(const struct pg_result *r, size_t param)
{
	return PQparamtype(r, (int)param);
}
