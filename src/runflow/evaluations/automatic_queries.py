"""SQL of automatic evaluations, in the transaction that ends a run (`runflow.db.transaction`)."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from runflow.db.transaction import Transaction

_ORIGIN = """
    SELECT r.input, v.interface, w.evaluation_task_type
    FROM runs r JOIN workflow_versions v ON v.id = r.version_id JOIN workflows w ON w.id = r.comfyui_workflow_id
    WHERE r.id = %(run)s
"""

_ADD = """
    INSERT INTO evaluations (id, org_id, run_id, comfyui_workflow_id, is_automatic, task_type, generation_prompt,
                             image_object_key, image_content_type, output_id, input_attributes, reference_images,
                             request_id)
    SELECT id, %(org)s, %(run)s, %(workflow)s, true, %(task_type)s, %(prompt)s, image_object_key, image_content_type,
           output_id, CAST(%(attributes)s AS json), CAST(%(references)s AS json), %(request_id)s
    FROM json_to_recordset(CAST(%(rows)s AS json)) AS o(
        id uuid, image_object_key text, image_content_type text, output_id text)
"""


async def origin(connection: Transaction, run: UUID) -> Any:
    """Return what a run was given, the interface of its version, and the task type that its workflow names."""
    return await connection.one(_ORIGIN, {"run": run})


async def add(connection: Transaction, rows: Sequence[Mapping[str, Any]], shared: Mapping[str, Any]) -> None:
    """Queue one evaluation per row, free of charge."""
    await connection.run(_ADD, {**shared, "rows": orjson.dumps(rows).decode()})
