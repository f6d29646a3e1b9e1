/*
 * The stored copy.  One block:
 *
 *   head      struct head
 *   names     for each column: two lengths (4 bytes each), its name, its key as
 *             JSON writes it ("name":)
 *   offsets   4 bytes for each cell, row by row: where its value begins
 *   JSON text
 *
 * Where a value ends is not stored: the next one begins behind a separator of
 * known length.  Integers are the machine's own; another byte order shows as
 * another version, which is a miss.
 */
#include "service/copy.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"

enum { VERSION = 0x31504357 /* "WCP1" */, ETAG_BYTES = 34 };

struct head {
	uint32_t version;
	uint32_t one;
	uint32_t columns, rows;
	uint32_t names_bytes, json_bytes;
	char etag[ETAG_BYTES + 2];
};

_Static_assert(sizeof(struct head) == 60, "no padding: the block is stored and compared as bytes");

struct column {
	struct slice name, key;
};

static uint32_t
load(const char *at)
{
	uint32_t n;

	memcpy(&n, at, sizeof n);
	return n;
}

/* The column whose entry begins at ${*at}, which moves behind it; false: it leaves ${names}. */
static bool
next_column(struct slice names, size_t *at, struct column *out)
{
	size_t name_len, key_len;

	if (names.len - *at < 8)
		return false;
	name_len = load(names.ptr + *at);
	key_len = load(names.ptr + *at + 4);
	if (name_len + key_len > names.len - *at - 8)
		return false;
	out->name = (struct slice){ names.ptr + *at + 8, name_len };
	out->key = (struct slice){ out->name.ptr + name_len, key_len };
	*at += 8 + name_len + key_len;
	return true;
}

static void
add_column(struct strbuf *names, struct slice name)
{
	struct strbuf key = STRBUF_INIT(UINT32_MAX);
	uint32_t lengths[2];

	strbuf_add_json(&key, name);
	strbuf_add_char(&key, ':');
	lengths[0] = (uint32_t)name.len;
	lengths[1] = (uint32_t)key.len;
	strbuf_add(names, lengths, sizeof lengths);
	strbuf_add_slice(names, name);
	strbuf_add_slice(names, strbuf_slice(&key));
	names->failed = names->failed || key.failed;
	strbuf_free(&key);
}

void
copy_begin(
    struct copy_builder *b, const struct slice *columns, size_t count, bool one, size_t max_bytes)
{
	*b = (struct copy_builder){
		.json = STRBUF_INIT(max_bytes < INT32_MAX ? max_bytes : INT32_MAX),
		.offsets = STRBUF_INIT(UINT32_MAX),
		.names = STRBUF_INIT(INT32_MAX),
		.column_count = count,
		.one = one,
	};
	for (size_t i = 0; i < count; i++)
		add_column(&b->names, columns[i]);
}

void
copy_cell(struct copy_builder *b)
{
	struct column c = { 0 };
	uint32_t offset;

	if (b->cell > 0)
		strbuf_add_char(&b->json, ',');
	else if (b->row_count > 0)
		strbuf_add(&b->json, "},{", 3);
	else
		strbuf_add_cstr(&b->json, b->one ? "{" : "[{");
	if (!next_column(strbuf_slice(&b->names), &b->name_at, &c))
		b->names.failed = true;
	strbuf_add_slice(&b->json, c.key);
	offset = (uint32_t)b->json.len;
	strbuf_add(&b->offsets, &offset, sizeof offset);
	if (++b->cell < b->column_count)
		return;
	b->cell = b->name_at = 0;
	b->row_count++;
}

static void
make_etag(struct slice json, char out[ETAG_BYTES + 1])
{
	const struct hash128 h = hash128(json.ptr, json.len);

	(void)snprintf(out, ETAG_BYTES + 1, "\"%016llx%016llx\"", (unsigned long long)h.hi,
	    (unsigned long long)h.lo);
}

static enum err
assemble(const struct copy_builder *b, struct strbuf *out)
{
	const size_t total = sizeof(struct head) + b->names.len + b->offsets.len + b->json.len;
	struct head h = {
		.version = VERSION,
		.one = b->one,
		.columns = (uint32_t)b->column_count,
		.rows = (uint32_t)b->row_count,
		.names_bytes = (uint32_t)b->names.len,
		.json_bytes = (uint32_t)b->json.len,
	};

	*out = STRBUF_INIT(total);
	make_etag(strbuf_slice(&b->json), h.etag);
	strbuf_add(out, &h, sizeof h);
	strbuf_add_slice(out, strbuf_slice(&b->names));
	strbuf_add_slice(out, strbuf_slice(&b->offsets));
	strbuf_add_slice(out, strbuf_slice(&b->json));
	if (!out->failed)
		return ERR_OK;
	strbuf_free(out);
	return ERR_NOMEM;
}

enum err
copy_end(struct copy_builder *b, struct strbuf *out)
{
	enum err rc = ERR_INVALID;

	if (b->cell != 0 || (b->one && b->row_count != 1))
		goto out;
	if (b->row_count == 0)
		strbuf_add_char(&b->json, '[');
	else
		strbuf_add_char(&b->json, '}');
	if (!b->one)
		strbuf_add_char(&b->json, ']');
	rc = b->json.failed ? ERR_TOO_LARGE : ERR_NOMEM;
	if (!b->json.failed && !b->names.failed && !b->offsets.failed)
		rc = assemble(b, out);
out:
	copy_abort(b);
	return rc;
}

void
copy_abort(struct copy_builder *b)
{
	strbuf_free(&b->json);
	strbuf_free(&b->offsets);
	strbuf_free(&b->names);
}

/* Every column's entry lies in ${names}, and nothing else does. */
static bool
names_are_whole(struct slice names, uint32_t columns)
{
	struct column c;
	size_t at = 0;

	for (uint32_t i = 0; i < columns; i++)
		if (!next_column(names, &at, &c))
			return false;
	return at == names.len;
}

enum err
copy_open(struct slice block, struct copy *out)
{
	struct slice names;
	struct head h;
	uint64_t offsets_bytes;

	if (block.ptr == NULL || block.len < sizeof h)
		return ERR_INVALID;
	memcpy(&h, block.ptr, sizeof h);
	offsets_bytes = (uint64_t)h.rows * h.columns; /* of cells; its fourfold fits, see below */
	if (h.version != VERSION || h.columns == 0 || offsets_bytes > UINT32_MAX || h.one > 1 ||
	    sizeof h + h.names_bytes + 4 * offsets_bytes + h.json_bytes != block.len)
		return ERR_INVALID;
	names = (struct slice){ block.ptr + sizeof h, h.names_bytes };
	if (!names_are_whole(names, h.columns))
		return ERR_INVALID;
	*out = (struct copy){
		.json = { block.ptr + block.len - h.json_bytes, h.json_bytes },
		.etag = { block.ptr + offsetof(struct head, etag), ETAG_BYTES },
		.rows = h.rows,
		.columns = h.columns,
		.one = h.one == 1,
		.names_at = names.ptr,
		.offsets_at = names.ptr + names.len,
	};
	return ERR_OK;
}

/* A projection in the making: all columns, and which of them are wanted, in order. */
struct cut {
	const struct copy *copy;
	struct column *columns;
	uint32_t *wanted;
	size_t wanted_count;
	bool damaged;
};

static enum err
cut_begin(struct cut *cut, const struct copy *c, struct arena *a)
{
	const struct slice names = { c->names_at, (size_t)(c->offsets_at - c->names_at) };
	size_t at = 0;

	*cut = (struct cut){
		.copy = c,
		.columns = arena_alloc(a, c->columns * sizeof *cut->columns),
		.wanted = arena_alloc(a, c->columns * sizeof *cut->wanted),
	};
	if (cut->columns == NULL || cut->wanted == NULL)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < c->columns; i++)
		if (!next_column(names, &at, &cut->columns[i]))
			return ERR_IO;
	return ERR_OK;
}

/* Adds the column ${field}; false: there is none, or it is there already. */
static bool
cut_want(struct cut *cut, struct slice field)
{
	uint32_t column = 0;

	while (column < cut->copy->columns && !slice_eq(cut->columns[column].name, field))
		column++;
	if (column == cut->copy->columns)
		return false;
	for (size_t i = 0; i < cut->wanted_count; i++)
		if (cut->wanted[i] == column)
			return false;
	cut->wanted[cut->wanted_count++] = column;
	return true;
}

/* The JSON value of one cell: it ends where the separator before the next one begins. */
static struct slice
cell_value(struct cut *cut, uint32_t row, uint32_t column)
{
	const struct copy *c = cut->copy;
	const uint64_t cell = (uint64_t)row * c->columns + column;
	const bool last_of_row = column + 1 == c->columns, last = last_of_row && row + 1 == c->rows;
	const uint64_t begin = load(c->offsets_at + 4 * cell);
	const uint64_t next = last ? c->json.len : load(c->offsets_at + 4 * (cell + 1));
	uint64_t between = 1;

	if (last)
		between = c->one ? 1 : 2; /* } or }] */
	else if (last_of_row)
		between = 3 + cut->columns[0].key.len; /* },{ and the key */
	else
		between += cut->columns[column + 1].key.len; /* , and the key */
	if (next > c->json.len || begin + between > next) {
		cut->damaged = true;
		return (struct slice){ 0 };
	}
	return (struct slice){ c->json.ptr + begin, next - between - begin };
}

/* Where bytes go; counts them only while ${ptr} is NULL. */
struct sink {
	char *ptr;
	size_t len;
};

static void
put(struct sink *s, struct slice bytes)
{
	if (s->ptr != NULL && bytes.len > 0)
		memcpy(s->ptr + s->len, bytes.ptr, bytes.len);
	s->len += bytes.len;
}

static void
put_row(struct cut *cut, uint32_t row, struct sink *s)
{
	put(s, row > 0 ? SLICE(",{") : SLICE("{"));
	for (size_t i = 0; i < cut->wanted_count; i++) {
		if (i > 0)
			put(s, SLICE(","));
		put(s, cut->columns[cut->wanted[i]].key);
		put(s, cell_value(cut, row, cut->wanted[i]));
	}
	put(s, SLICE("}"));
}

static void
put_all(struct cut *cut, struct sink *s)
{
	if (!cut->copy->one)
		put(s, SLICE("["));
	for (uint32_t row = 0; row < cut->copy->rows; row++)
		put_row(cut, row, s);
	if (!cut->copy->one)
		put(s, SLICE("]"));
}

/* ["id","name"] */
static struct slice
names_json(const struct cut *cut, struct arena *a)
{
	struct sink s = { 0 };
	size_t bytes = 2;

	for (uint32_t i = 0; i < cut->copy->columns; i++)
		bytes += cut->columns[i].key.len; /* its colon is the comma's place */
	s.ptr = arena_alloc(a, bytes);
	if (s.ptr == NULL)
		return (struct slice){ 0 };
	put(&s, SLICE("["));
	for (uint32_t i = 0; i < cut->copy->columns; i++) {
		const struct slice key = cut->columns[i].key;

		if (i > 0)
			put(&s, SLICE(","));
		put(&s, (struct slice){ key.ptr, key.len == 0 ? 0 : key.len - 1 });
	}
	put(&s, SLICE("]"));
	return (struct slice){ s.ptr, s.len };
}

enum err
copy_project(const struct copy *c, struct slice fields, struct arena *a, struct slice *json_out,
    struct slice *names_out, struct slice *bad_out)
{
	struct slice rest = fields.ptr == NULL ? SLICE("") : fields;
	struct sink count = { 0 }, s = { 0 };
	struct cut cut;
	enum err rc = cut_begin(&cut, c, a);

	while (rc == ERR_OK && rest.ptr != NULL) {
		const struct slice field = slice_cut(&rest, ',');

		if (!cut_want(&cut, field)) {
			*bad_out = field;
			*names_out = names_json(&cut, a);
			return names_out->ptr == NULL ? ERR_NOMEM : ERR_INVALID;
		}
	}
	if (rc != ERR_OK)
		return rc;
	put_all(&cut, &count);
	if (cut.damaged)
		return ERR_IO;
	s.ptr = arena_alloc(a, count.len);
	if (s.ptr == NULL)
		return ERR_NOMEM;
	put_all(&cut, &s);
	*json_out = (struct slice){ s.ptr, s.len };
	return ERR_OK;
}
