-- GET /api/v1/countries/:code
-- One country, by its ISO 3166-1 alpha-2 code, in upper or lower case.
-- param code: text, length 2
-- returns: one
-- cache: 1h, stale 10m, if-error 1d
-- tags: countries, country-:code
-- limit: 100/s by client, burst 200
SELECT alpha_2 AS code, alpha_3, numeric_code, name, official_name, flag
  FROM countries
 WHERE alpha_2 = upper(CAST(:code AS text));
