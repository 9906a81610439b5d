"""Names of operations in the OpenAPI document, made of method and path: so generated clients call their methods."""

_VERBS = {"get": "get", "post": "create", "patch": "update", "put": "put", "delete": "delete"}


def operation_id(method: str, path: str, *, is_list: bool) -> str:
    """Return e.g. `list_runs`, `get_run_log`, `create_comfyui_workflow_run`; unique among the routes of the API."""
    segments = path.removeprefix("/v1/").removesuffix(".json").split("/")
    following = [*segments[1:], ""]
    words = [
        _one_of(name) if after.startswith("{") or method == "post" else name
        for name, after in zip(segments, following, strict=True)
        if not name.startswith("{")
    ]
    verb = "list" if is_list else _VERBS[method]
    by_path = "_by_path" if segments[-1] == "{slug}" else ""
    return "_".join([verb, *words]).replace("-", "_") + by_path


def _one_of(name: str) -> str:
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    return name.removesuffix("es") if name.endswith("ches") else name.removesuffix("s")
