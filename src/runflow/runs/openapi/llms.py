"""`/llms.txt`: the API in one page that fits into a language model's context (llmstxt.org). Pure."""

from collections.abc import Mapping
from typing import Any

HEAD = """# Runflow API

> Runs ComfyUI workflows as HTTP endpoints, on machines that the operator of this server owns. JSON in and out. Every
> request needs `Authorization: Bearer rf_live_…`; every error is `{"code", "message", "errors"}`, and its message says
> what to do next.

To run a workflow:

1. `GET /v1/comfyui-workflows?embed=inputs` lists the workflows; `path` is `{owner}/{slug}`, `inputs[]` names what each
   one takes: `name`, `variable_type_code`, `is_required`, `default_value` (what a run uses without it), and in
   `validator_attrs` its limits: `min`, `max`, `step`, `choices`. A value outside is a 422 that names the limit.
2. A file input takes an `https://` URL, a `data:` URI up to 1 MiB, a `url` that this server gave out (such as that of
   another run's output), or `runflow://assets/{id}` of an uploaded file:
   `POST /v1/asset-uploads` with `filename`, `mime_type`, `size_bytes`; `PUT` the bytes to `upload_url` with that
   `Content-Type`; `POST /v1/asset-uploads/{asset_id}/confirmations`.
3. `POST /v1/comfyui-workflows/{owner}/{slug}/runs?wait=60` with `{"input": {NAME: VALUE}}` answers 201 with the run
   when it has ended, or as it stands after 60 seconds.
4. Unless it `is_terminal`, `GET /v1/runs/{id}?wait=60` answers when it has ended, or after 60 seconds. Repeat.
5. `output.outputs[].url` are signed and expire: fetch the files at once. A failed run says why in `failure_message`.

Send `Idempotency-Key` with a POST that you may have to repeat. Lists take `q`, `limit`, `sort_by`, `fields`, `embed`
and the cursor `pq`.

## Documents
- [OpenAPI 3.1](/v1/openapi.json): every route, field and error
- [Interactive reference](/docs): the same, to try out
- `/v1/comfyui-workflows/{owner}/{slug}/openapi.json`: one workflow with its own input fields
"""


def index(document: Mapping[str, Any]) -> str:
    """Return the text for an OpenAPI document: how to begin, then each route in a line, by tag."""
    sections: dict[str, list[str]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            sections[operation["tags"][0]].append(f"- `{method.upper()} {path}`: {operation.get('summary', '')}")
    return HEAD + "".join(f"\n## {tag}\n" + "\n".join(lines) + "\n" for tag, lines in sections.items())
