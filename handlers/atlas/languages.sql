-- GET /api/v1/languages
-- Languages of ISO 639-3 whose name contains `q`, in upper or lower case.
--
-- Names that begin with `q` come first; each of the two groups is sorted by name.
-- param q: text, min 1, max 64
-- param limit: integer, min 1, max 100, default 20
-- cache: 1h, stale 10m, if-error 1d
-- tags: languages
-- limit: 50/s by client, burst 100
WITH wanted (pattern) AS (
  -- What LIKE would take as a wildcard stands for itself.
  SELECT replace(replace(replace(lower(CAST(:q AS text)), '\', '\\'), '%', '\%'), '_', '\_') || '%'
)
SELECT alpha_3 AS code, alpha_2, name, scope, type
  FROM languages, wanted
 WHERE search_name LIKE '%' || pattern ESCAPE '\'
 ORDER BY CASE WHEN search_name LIKE pattern ESCAPE '\' THEN 0 ELSE 1 END, name_rank
 LIMIT CAST(:limit AS integer);
