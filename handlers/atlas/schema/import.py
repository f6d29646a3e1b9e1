#!/usr/bin/env python3
"""Writes the demo API's tables as SQL, from the JSON files of Debian's iso-codes.

    import.py /usr/share/iso-codes/json | sqlite3 -bail FILE
    import.py /usr/share/iso-codes/json | psql -v ON_ERROR_STOP=1 URL

The SQL is one transaction and may be run again: the lists are replaced, events stay.  For SQLite it must
run under flock of the state folder's consumer.lock, as everything that writes there.
"""

import json
import pathlib
import sys

ROWS_PER_INSERT = 200

SCOPES = {"I": "individual", "M": "macrolanguage", "S": "special"}
TYPES = {
    "A": "ancient",
    "C": "constructed",
    "E": "extinct",
    "H": "historical",
    "L": "living",
    "S": "special",
}


def read(folder, name):
    """The records of iso_NAME.json."""
    with open(folder / f"iso_{name}.json", encoding="utf-8") as file:
        return json.load(file)[name]


def ranked(records, key):
    """The records in the order of ${key}, each with its place."""
    return enumerate(sorted(records, key=key), start=1)


def full_code(code, country):
    """Some parents are written without their country."""
    return code if code is None or "-" in code else f"{country}-{code}"


def countries(folder):
    for rank, r in ranked(read(folder, "3166-1"), lambda r: r["name"].casefold()):
        yield (r["alpha_2"], r["alpha_3"], r["numeric"], r["name"], r.get("official_name"), r["flag"], rank)


def subdivisions(folder):
    for rank, r in ranked(read(folder, "3166-2"), lambda r: r["code"]):
        country = r["code"].split("-")[0]
        yield (r["code"], country, r["name"], r["type"], full_code(r.get("parent"), country), rank)


def languages(folder):
    for rank, r in ranked(read(folder, "639-3"), lambda r: (r["name"].casefold(), r["alpha_3"])):
        name = r["name"]
        yield (r["alpha_3"], r.get("alpha_2"), name, name.lower(), SCOPES[r["scope"]], TYPES[r["type"]], rank)


def currencies(folder):
    for r in read(folder, "4217"):
        yield (r["alpha_3"], r["numeric"], r["name"])


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("'", "''") + "'"


def inserts(table, rows):
    """The table's rows, replaced."""
    rows = list(rows)
    yield f"DELETE FROM {table};"
    for at in range(0, len(rows), ROWS_PER_INSERT):
        lines = ("(" + ", ".join(map(literal, row)) + ")" for row in rows[at : at + ROWS_PER_INSERT])
        yield f"INSERT INTO {table} VALUES\n" + ",\n".join(lines) + ";"


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: import.py FOLDER, such as /usr/share/iso-codes/json")
    folder = pathlib.Path(sys.argv[1])
    tables = pathlib.Path(__file__).with_name("tables.sql")
    # Bytes and not the locale's idea of text: names are in UTF-8 wherever this runs.
    sys.stdout.reconfigure(encoding="utf-8")
    print("BEGIN;")
    print(tables.read_text(encoding="utf-8"))
    for table in (countries, subdivisions, languages, currencies):
        for statement in inserts(table.__name__, table(folder)):
            print(statement)
    print("COMMIT;")


if __name__ == "__main__":
    main()
