-- Evaluations, judges, issues, feedback.

CREATE TABLE evaluations (
    id                         uuid PRIMARY KEY,
    org_id                     uuid NOT NULL REFERENCES organizations,
    run_id                     uuid REFERENCES runs ON DELETE SET NULL,
    comfyui_workflow_id        uuid,
    is_automatic               boolean NOT NULL DEFAULT false,
    status_code                text NOT NULL DEFAULT 'pending'
                               CHECK (status_code IN ('pending', 'running', 'completed', 'failed')),
    job_class_code             text NOT NULL DEFAULT 'standard',
    task_type                  text NOT NULL,
    task_description           text,
    generation_prompt          text,
    evaluation_instructions    text,
    generated_image_url        text,
    image_object_key           text,
    image_content_type         text,
    output_id                  text,
    input_attributes           json,
    reference_images           json NOT NULL DEFAULT '[]',
    client_ref                 text,
    callback_url               text,
    request_id                 text,
    created_by                 uuid,
    price                      numeric(14, 6) NOT NULL DEFAULT 0,
    cost                       numeric(14, 6),
    overall_passed             boolean,
    weighted_pass_rate         double precision,
    score                      double precision,
    top_issues                 json NOT NULL DEFAULT '[]',
    top_strengths              json NOT NULL DEFAULT '[]',
    check_summary              json,
    analysis_modules_executed  integer NOT NULL DEFAULT 0,
    primary_action_code        text CHECK (primary_action_code IN ('accept', 'review', 'regenerate')),
    failure_code               text,
    failure_message            text,
    feedback_is_positive       boolean,
    feedback_reason            text,
    attempt_number             integer NOT NULL DEFAULT 0,
    claim_id                   uuid,
    due_at                     timestamptz DEFAULT now(),
    eval_duration_ms           integer,
    created_at                 timestamptz NOT NULL DEFAULT now(),
    updated_at                 timestamptz NOT NULL DEFAULT now(),
    submitted_at               timestamptz NOT NULL DEFAULT now(),
    started_at                 timestamptz,
    completed_at               timestamptz,
    CHECK (generated_image_url IS NOT NULL OR image_object_key IS NOT NULL)
);
COMMENT ON TABLE evaluations IS 'Quality verdicts on images, and the queue of those to come.';
COMMENT ON COLUMN evaluations.generated_image_url IS 'As the caller sent it, or a reference to an asset; null for an output of a run.';
COMMENT ON COLUMN evaluations.image_object_key IS 'The image in our storage, where it is known to be there.';
COMMENT ON COLUMN evaluations.price IS 'Frozen at submission; becomes the cost when it is completed.';
COMMENT ON COLUMN evaluations.claim_id IS 'Of the process that works on it; whoever comes back with another one has lost it.';
COMMENT ON COLUMN evaluations.due_at IS 'Pending: when it may be begun. Running: when its claim lapses. Null: it has ended.';
CREATE INDEX evaluations_page ON evaluations (org_id, created_at DESC, id DESC);
CREATE INDEX evaluations_of_run ON evaluations (run_id, created_at DESC, id DESC) WHERE run_id IS NOT NULL;
CREATE INDEX evaluations_of_workflow ON evaluations (org_id, comfyui_workflow_id, created_at)
    WHERE comfyui_workflow_id IS NOT NULL;
CREATE INDEX evaluations_due ON evaluations (org_id, due_at) WHERE due_at IS NOT NULL;
CALL tenant_table('evaluations', 'INSERT, UPDATE');

CREATE TABLE evaluation_judges (
    id             uuid PRIMARY KEY,
    org_id         uuid NOT NULL,
    evaluation_id  uuid NOT NULL REFERENCES evaluations ON DELETE CASCADE,
    ordinal        integer NOT NULL,
    name           text NOT NULL,
    description    text NOT NULL,
    category       text NOT NULL,
    is_gate        boolean NOT NULL,
    passed         boolean,
    confidence     double precision NOT NULL,
    score          double precision,
    weight         double precision NOT NULL,
    reasoning      text NOT NULL,
    duration_ms    integer NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (evaluation_id, ordinal)
);
COMMENT ON TABLE evaluation_judges IS 'What each judge said; passed is null where a judge could not tell.';
CALL tenant_table('evaluation_judges');

CREATE TABLE evaluation_issues (
    id                   uuid PRIMARY KEY,
    org_id               uuid NOT NULL,
    evaluation_id        uuid NOT NULL REFERENCES evaluations ON DELETE CASCADE,
    judge_id             uuid NOT NULL REFERENCES evaluation_judges ON DELETE CASCADE,
    comfyui_workflow_id  uuid,
    ordinal              integer NOT NULL,
    category             text NOT NULL,
    subcategory          text NOT NULL,
    detail               text NOT NULL,
    severity             text NOT NULL CHECK (severity IN ('low', 'medium', 'high')),
    created_at           timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE evaluation_issues IS 'What judges found wrong. created_at is that of the evaluation, for statistics.';
CREATE INDEX evaluation_issues_of_judge ON evaluation_issues (judge_id);
CREATE INDEX evaluation_issues_of_evaluation ON evaluation_issues (evaluation_id);
CREATE INDEX evaluation_issues_of_workflow ON evaluation_issues (org_id, comfyui_workflow_id, created_at)
    WHERE comfyui_workflow_id IS NOT NULL;
CALL tenant_table('evaluation_issues');
