-- POST /api/v1/events
-- Record an event.
--
-- The `Idempotency-Key` becomes its id: sent again with the same content, it is recorded once.
-- body type: text, min 1, max 64
-- body payload: object, optional
-- idempotency: required
-- invalidates: events, stats
-- limit: 100/s by client, burst 200
INSERT INTO events (tenant, id, type, payload, accepted_at)
VALUES (:tenant, :idempotency_key, :type, :payload, :accepted_at);
