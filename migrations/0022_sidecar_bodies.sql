-- What each sidecar says of the bodies of requests: how much of one it reads, and what has arrived.
ALTER TABLE sidecars
    ADD COLUMN condition_body_max bigint CHECK (condition_body_max >= 0),
    ADD COLUMN request_bodies text CHECK (request_bodies IN ('arrived', 'unreadable', 'none'));
COMMENT ON COLUMN sidecars.condition_body_max IS 'in octets; 0: it reads no body; NULL: it does not say, as earlier versions';
COMMENT ON COLUMN sidecars.request_bodies IS 'NULL before its first check, and where it does not say';
