"""SQL of what a run's record tells of its evaluations: one look at an index, in the statement that reads the run."""

FIELDS = frozenset({"feedback_is_positive", "feedback_reason", "current_evaluation_summary"})
"""The fields of a run's record that are made of it."""


def of_run(run: str) -> str:
    """Return the scalar sub-select for the run whose id is the expression `run`; NULL for one without evaluations.

    `passed` is null until every evaluation has ended; the feedback is the one that was given last.
    """
    return f"""(
        SELECT json_build_object(
            'passed', CASE WHEN bool_and(e.due_at IS NULL) THEN bool_and(e.overall_passed) END,
            'status_code', CASE WHEN bool_or(e.status_code = 'running') THEN 'running'
                                WHEN bool_or(e.status_code = 'pending') THEN 'pending'
                                WHEN bool_or(e.status_code = 'failed') THEN 'failed' ELSE 'completed' END,
            'score', round(avg(e.score)::numeric, 4),
            'feedback', (array_agg(json_build_object('is_positive', e.feedback_is_positive,
                                                     'reason', e.feedback_reason) ORDER BY e.updated_at DESC)
                         FILTER (WHERE e.feedback_is_positive IS NOT NULL))[1])
        FROM evaluations e WHERE e.run_id = {run} HAVING count(*) > 0
    )"""  # noqa: S608 - `run` is a column's name
