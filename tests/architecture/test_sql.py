"""SQL stands in queries.py and nowhere else, and what acts for every tenant stands in files that are listed here."""

import ast
import re

from tests.support.source import Module, server_modules

VALUES = re.compile(r"sqlalchemy\.(URL|Select)$")
"""What every module may import from SQLAlchemy: addresses and built statements that are handed around."""
RUNS = re.compile(r"sqlalchemy\.(\w*[eE]ngine\w*|Row|RowMapping|exc(\.\w+)?|ext\.asyncio.*|orm.*|pool.*)$")
"""What of SQLAlchemy runs statements, or comes of running them."""
STATEMENT = re.compile(r"\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\S+\s+SET\s|DELETE\s+FROM\s|WITH\s+\w+\s+AS\s)")

SYSTEM_TRANSACTIONS = frozenset(
    {
        "assets/retention.py",
        "batches/service.py",
        "cli/budget.py",
        "cli/database.py",
        "cli/keys.py",
        "cli/orgs.py",
        "cli/status.py",
        "deliveries/retention.py",
        "deliveries/sending/sender.py",
        "evaluations/runner/runner.py",
        "golden/runner.py",
        "workers/gpus/service.py",
        "installation.py",
        "key_rotation.py",
        "accounts/keys/authenticator.py",
        "models/uploads.py",
        "overview/service.py",
        "retention/service.py",
        "queue/board.py",
        "queue/completion.py",
        "queue/eligibility.py",
        "queue/leases.py",
        "queue/out_of_memory.py",
        "queue/position.py",
        "queue/prebuilds.py",
        "queue/sweeper.py",
        "runs/reruns.py",
        "runs/service.py",
        "web/idempotency/sweep.py",
        "web/system.py",
        "queue/waiting_reason.py",
        "workers/service.py",
        "queue/worker_api.py",
        "sources/known.py",
        "sources/service.py",
        "sources/startup.py",
        "workflows/public.py",
        "workflows/version_sources.py",
        "workflows/runtime/builds.py",
        "workflows/runtime/known.py",
    }
)
"""The files that open the transaction which sees every tenant's rows, each because no tenant is known or all are
meant: keys are looked up before their organization is known, workers serve all organizations, sweeps and deliveries
cover all rows, the operator's commands make organizations, cancelling moves lanes and outbox, a run repeats another
organization's public workflow. A route never does, but readiness, and reads of public
workflows, which stand in one file with a narrow selection."""


def holds_sql(module: Module) -> bool:
    """Return whether SQL may stand in this module."""
    return (
        module.path.name in ("queries.py", "tables.py")
        or module.path.name.endswith("_queries.py")
        or module.room in ("db", "embedded_postgres", "deliveries")
        or module.name.startswith("web/lists/")
        or module.name == "web/system.py"  # readiness asks the database for one row
    )


def others() -> list[Module]:
    return [module for module in server_modules() if not holds_sql(module)]


def test_statements_are_built_in_queries_only() -> None:
    faults = [
        f"src/runflow/{module.name}:{line}: {name}"
        for module in others()
        for line, name in module.imports()
        if name.split(".")[0] in ("sqlalchemy", "psycopg") and not VALUES.match(name)
    ]
    assert faults == [], "\n".join(faults)


def test_there_is_one_road_to_the_database() -> None:
    """SQLAlchemy builds statements and runs none; the driver is known below `runflow.db` only."""
    faults = [
        f"src/runflow/{module.name}:{line}: {name}"
        for module in server_modules()
        for line, name in module.imports()
        if RUNS.match(name) or (name.split(".")[0] == "psycopg" and module.room not in ("db", "embedded_postgres"))
    ]
    assert faults == [], "\n".join(faults)


def test_no_statement_hides_in_a_string() -> None:
    faults = [
        f"src/runflow/{module.name}:{line}: {text.strip()[:40]}"
        for module in others()
        for line, text in module.strings()
        if STATEMENT.match(text)
    ]
    assert faults == [], "\n".join(faults)


def test_the_list_of_system_transactions_is_complete_and_true() -> None:
    opened = {module.name for module in server_modules() if opens_system_transaction(module)}
    assert opened - SYSTEM_TRANSACTIONS == set(), "a tenant's work belongs into db.tenant(…); else list the file"
    assert SYSTEM_TRANSACTIONS - opened == set(), "no longer there: take it off the list"


def opens_system_transaction(module: Module) -> bool:
    """Return whether the module calls `db.system(…)` or its pipelined twin, however it reaches `db`."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("system", "system")
        and ast.unparse(node.func.value).split(".")[-1].lstrip("_") in ("db", "database")
        for node in module.nodes
    )
