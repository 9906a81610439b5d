-- What a run uses when a caller leaves an optional input out, as far as the workflow's prompt tells: the row's own default,
-- else what the widget behind it holds. Null until the workflow is deployed again; then default_value alone is shown.

ALTER TABLE workflow_inputs ADD COLUMN effective_default json;
