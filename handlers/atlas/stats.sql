-- GET /api/v1/stats
-- How many events of each type the caller's tenant has recorded, and when.
-- column events: integer
-- column first_at: timestamp
-- column last_at: timestamp
-- cache: 2s, stale 10s, if-error 10m
-- tags: stats
-- limit: 100/s by client, burst 200
SELECT type, count(*) AS events, min(accepted_at) AS first_at, max(accepted_at) AS last_at
  FROM events
 WHERE tenant = :tenant
 GROUP BY type
 ORDER BY count(*) DESC, min(accepted_at), type;
