-- What builds have found to be needed: who may run a version hangs on it, so it is read each second.
CREATE INDEX version_sources_found ON version_sources (source_id) WHERE kind_code = 'package';

-- Builds by version: two runtimes may share a fingerprint, and what was noted under one says not of which it is.
DELETE FROM runtime_builds;
ALTER TABLE runtime_builds DROP CONSTRAINT runtime_builds_pkey;
ALTER TABLE runtime_builds DROP COLUMN fingerprint;
ALTER TABLE runtime_builds ADD COLUMN version_id uuid NOT NULL REFERENCES workflow_versions;
ALTER TABLE runtime_builds ADD COLUMN runtime text;
ALTER TABLE runtime_builds ADD COLUMN is_permanent boolean NOT NULL DEFAULT false;
ALTER TABLE runtime_builds ADD PRIMARY KEY (version_id, worker_name);
CREATE INDEX runtime_builds_failed ON runtime_builds (version_id) WHERE is_permanent;
COMMENT ON COLUMN runtime_builds.runtime IS 'Named by what it is made of: builds of two versions with one name share it.';
COMMENT ON COLUMN runtime_builds.is_permanent IS 'It failed for a reason that stays, until the pre-build is asked for or the worker starts anew.';
