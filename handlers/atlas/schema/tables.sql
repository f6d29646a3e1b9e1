-- The tables of the demo API, for SQLite and PostgreSQL.
--
-- Not an endpoint: handler folders are not looked into below their first level.  The *_rank columns hold the
-- order of names and codes, so that both databases sort alike whatever their collation.

CREATE TABLE IF NOT EXISTS countries (
  alpha_2       TEXT PRIMARY KEY,
  alpha_3       TEXT NOT NULL,
  numeric_code  TEXT NOT NULL,
  name          TEXT NOT NULL,
  official_name TEXT,
  flag          TEXT NOT NULL,
  name_rank     INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS subdivisions (
  code      TEXT PRIMARY KEY,
  country   TEXT NOT NULL,
  name      TEXT NOT NULL,
  type      TEXT NOT NULL,
  parent    TEXT,
  code_rank INTEGER NOT NULL
);

CREATE INDEX IF NOT EXISTS subdivisions_of_country ON subdivisions (country, code_rank);

CREATE TABLE IF NOT EXISTS languages (
  alpha_3     TEXT PRIMARY KEY,
  alpha_2     TEXT,
  name        TEXT NOT NULL,
  search_name TEXT NOT NULL,
  scope       TEXT NOT NULL,
  type        TEXT NOT NULL,
  name_rank   INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS currencies (
  alpha_3      TEXT PRIMARY KEY,
  numeric_code TEXT NOT NULL,
  name         TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS events (
  tenant      TEXT NOT NULL,
  id          TEXT NOT NULL,
  type        TEXT NOT NULL,
  payload     JSON,
  accepted_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (tenant, id)
);

CREATE INDEX IF NOT EXISTS events_by_type ON events (tenant, type, accepted_at);
