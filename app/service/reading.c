/*
 * The rows of one running statement on their way into a copy.
 */
#include "service/reading.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "http/endpoint.h"

enum {
	MAX_BIND_BYTES = 1 << 20, /* beside the values themselves */
	MAX_SCRATCH_BYTES = 16 << 20
};

static void
log_refusal(const struct endpoint *e, const char *why)
{
	static struct log_gate gate;
	uint64_t held;

	if (log_gate_open(&gate, clock_mono_ms(), &held))
		log_error("answer_refused", LOG_STR("file", e->file), LOG_STR("reason", why),
		    LOG_INT("held_back", held));
}

void
reading_open(struct reading *r, const struct endpoint *e)
{
	*r = (struct reading){ .e = e };
	arena_init(&r->arena, MAX_BIND_BYTES);
	arena_init(&r->scratch, MAX_SCRATCH_BYTES);
}

static enum cell_form
form_of(const struct reading *r, struct slice name, enum cell_form by_database)
{
	for (size_t i = 0; i < r->e->column_count; i++)
		if (slice_eq(r->e->columns[i].name, name))
			return cell_form_of_rule(r->e->columns[i].type);
	return by_database;
}

enum err
reading_begin(struct reading *r, const struct slice *names, const enum cell_form *forms,
    size_t columns, size_t max_bytes)
{
	r->columns = columns;
	r->forms = arena_alloc(&r->arena, columns * sizeof *r->forms);
	if (r->forms == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < columns; i++) {
		r->forms[i] = form_of(r, names[i], forms[i]);
		if (!utf8_valid(names[i], NULL)) {
			log_refusal(r->e, "a column whose name is no UTF-8");
			return ERR_UNAVAILABLE;
		}
	}
	copy_begin(&r->copy, names, columns, r->e->returns_one, max_bytes);
	r->begun = true;
	return ERR_OK;
}

enum err
reading_row(struct reading *r, const struct cell *cells)
{
	if (r->copy.row_count == (uint64_t)r->e->max_rows) {
		log_refusal(r->e, "more rows than max-rows");
		return ERR_TOO_LARGE;
	}
	for (size_t i = 0; i < r->columns; i++) {
		copy_cell(&r->copy);
		cell_add_json(&r->copy.json, &cells[i], r->forms[i], &r->scratch);
		if (r->scratch.used_bytes > 0)
			arena_reset(&r->scratch);
	}
	if (!r->copy.json.failed)
		return ERR_OK;
	log_refusal(r->e, "more bytes than WEIR_MAX_RESPONSE");
	return ERR_TOO_LARGE;
}

enum err
reading_end(struct reading *r, struct strbuf *block_out)
{
	if (r->e->returns_one && r->copy.row_count == 0)
		return ERR_NOT_FOUND;
	r->begun = false;
	return copy_end(&r->copy, block_out);
}

void
reading_close(struct reading *r)
{
	if (r->begun)
		copy_abort(&r->copy);
	arena_free(&r->arena);
	arena_free(&r->scratch);
}

static bool
is_among(const struct slice *names, size_t count, struct slice name)
{
	for (size_t i = 0; i < count; i++)
		if (slice_eq(names[i], name))
			return true;
	return false;
}

void
reading_check_names(
    const struct slice *names, size_t columns, const struct endpoint *e, struct fault_list *faults)
{
	for (size_t i = 0; i < columns; i++)
		if (is_among(names, i, names[i]))
			fault_add(faults, e->file, e->sql_line,
			    "two columns are named \"%.*s\", expected AS with another name",
			    (int)names[i].len, names[i].ptr);
	for (size_t i = 0; i < e->column_count; i++) {
		const struct slice name = e->columns[i].name;

		if (!is_among(names, columns, name))
			fault_add(faults, e->file, e->sql_line,
			    "column \"%.*s\" is not in the result, expected one that is",
			    (int)name.len, name.ptr);
	}
}

unsigned
reading_line(const struct endpoint *e, int offset)
{
	unsigned line = e->sql_line;

	for (int i = 0; i < offset && (size_t)i < e->sql.len; i++)
		line += e->sql.ptr[i] == '\n';
	return line;
}
