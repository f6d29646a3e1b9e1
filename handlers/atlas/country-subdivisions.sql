-- GET /api/v1/countries/:code/subdivisions
-- The states, provinces and other parts of one country (ISO 3166-2), by code.
--
-- A country that has none, and a code that is no country's, give an empty array.
-- param code: text, length 2
-- cache: 1h, stale 10m, if-error 1d
-- tags: countries, country-:code
-- limit: 100/s by client, burst 200
SELECT code, name, type, parent
  FROM subdivisions
 WHERE country = upper(CAST(:code AS text))
 ORDER BY code_rank;
