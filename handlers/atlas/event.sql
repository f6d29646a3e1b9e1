-- GET /api/v1/events/:id
-- One recorded event of the caller's tenant, by the key that it was sent with.
--
-- An event is there as soon as it has been applied, usually within a second of the 202.
-- param id: text, min 1, max 255
-- returns: one
-- cache: 10s, if-error 10m
-- tags: events, event-:id
-- limit: 100/s by client, burst 200
SELECT id, type, payload, accepted_at
  FROM events
 WHERE tenant = :tenant AND id = :id;
