-- A policy's version counts its writes, restores and deletions for as long as it is kept. At the end of `integer`
-- no write of it was possible any more, not even its deletion.

ALTER TABLE attribute_policies ALTER COLUMN version TYPE bigint;
ALTER TABLE attribute_policy_versions ALTER COLUMN version TYPE bigint;
