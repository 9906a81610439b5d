-- How the builds of runtimes went, on each worker, by the fingerprint of the version that had it built. Whoever has a version
-- with a fingerprint has sent its whole manifest, so a log tells nobody what they do not know.
CREATE TABLE runtime_builds (
    fingerprint  text NOT NULL,
    worker_name  text NOT NULL,
    succeeded    boolean NOT NULL,
    elapsed_ms   bigint NOT NULL,
    step         text,
    pack         text,
    message      text,
    log          text NOT NULL,
    ended_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (fingerprint, worker_name)
);
COMMENT ON TABLE runtime_builds IS 'The last build of a runtime on each worker that told of one. The oldest go when there are many.';
CREATE INDEX runtime_builds_age ON runtime_builds (ended_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON runtime_builds TO runflow_system;

ALTER TABLE version_sources DROP CONSTRAINT version_sources_kind_code_check;
ALTER TABLE version_sources ADD CONSTRAINT version_sources_kind_code_check
    CHECK (kind_code IN ('comfyui', 'node_pack', 'package'));
COMMENT ON TABLE version_sources IS 'What the documents of a version name, whatever it is called there, and what a build found that its packs want.';
