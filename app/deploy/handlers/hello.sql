-- GET /api/v1/hello/:name
-- An endpoint without a table, to see that all is in its place.
-- param name: text, min 1, max 40
-- returns: one
-- cache: 1m
SELECT 'Hello, ' || CAST(:name AS text) || '!' AS greeting;
