-- Workflows: public ones, automatic evaluation.

ALTER TABLE workflows
    ADD COLUMN auto_evaluate         boolean NOT NULL DEFAULT false,
    ADD COLUMN evaluation_task_type  text;
COMMENT ON COLUMN workflows.auto_evaluate IS 'Evaluate every image output of every run of this workflow.';
COMMENT ON COLUMN workflows.evaluation_task_type IS 'The task type of automatic evaluations, e.g. headshot.';
