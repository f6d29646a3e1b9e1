-- GET /api/v1/countries
-- Every country of ISO 3166-1, by name.
--
-- `?fields=code,name` keeps a part of each.
-- cache: 1h, stale 10m, if-error 1d
-- tags: countries
-- limit: 100/s by client, burst 200
SELECT alpha_2 AS code, alpha_3, numeric_code, name, official_name, flag
  FROM countries
 ORDER BY name_rank;
