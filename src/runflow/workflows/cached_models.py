"""What a version takes from caches of libraries, and what of it no worker can restore."""

from collections.abc import Sequence

from runflow.db.transaction import Transaction
from runflow.graph import GraphWarning
from runflow.models.cached import CachedModels, has_address
from runflow.models.service import held

_NAMED = 5
_OTHERWISE = "or let the node pack fetch it, which needs an engine with a network."


async def warnings(transaction: Transaction, found: CachedModels) -> list[GraphWarning]:
    """Warn of what no worker can restore. What the transaction's tenant has uploaded can be."""
    told = []
    if found.without_files:
        told.append(
            GraphWarning(
                None,
                f"No worker restores {_listed(found.without_files)} of the caches of Hugging Face and torch hub as the "
                "author has it: the manifest does not name all of its files by SHA-256.",
                f"Run the workflow once in ComfyUI and deploy it from there, {_OTHERWISE}",
            )
        )
    if found.repositories:
        told.append(
            GraphWarning(
                None,
                f"No worker restores {_listed(found.repositories)} of torch hub: these repositories are code.",
                f"Use a node pack that brings this code itself, {_OTHERWISE}",
            )
        )
    nowhere = [file for file in found.files if not has_address(file)]
    uploaded = await held(transaction, {file.sha256 for file in nowhere})
    missing = [file.path for file in nowhere if file.sha256 not in uploaded]
    if missing:
        told.append(
            GraphWarning(
                None,
                f"Nobody says where {_listed(missing)} of torch hub's checkpoints can be fetched.",
                "Add its `url` to `environment.cached_models.pytorch`, upload it (`POST /v1/model-uploads`; Deploy "
                f"does so where uploads are on), {_OTHERWISE}",
            )
        )
    return told


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
