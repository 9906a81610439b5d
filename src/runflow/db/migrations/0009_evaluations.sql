-- Evaluations, judges, issues, feedback.

SELECT 1;
