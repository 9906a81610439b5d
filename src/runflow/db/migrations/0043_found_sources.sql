-- What builds have found to be needed: who may run a version hangs on it, so it is read each second.
CREATE INDEX version_sources_found ON version_sources (source_id) WHERE kind_code = 'package';
