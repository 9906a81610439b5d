-- Statistics count failures by code: few of the runs, so they get an index of their own.

CREATE INDEX runs_failed ON runs (comfyui_workflow_id, org_id, created_at) INCLUDE (failure_code)
    WHERE status_code = 'failed';
