-- Batches and what runs need for reruns, logs and events.

SELECT 1;
