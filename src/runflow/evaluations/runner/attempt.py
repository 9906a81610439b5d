"""One attempt at an evaluation: fetch, judge, decide. Nothing is written; the outcome is a value."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runflow import extras
from runflow.evaluations.limits import EvaluationFailed, FailureCode
from runflow.evaluations.runner.files import Files
from runflow.evaluations.runner.judging import Findings, ImageRefused, JudgingFailed, JudgingPool
from runflow.evaluations.runner.panel import Outcome, decide
from runflow.evaluations.runner.queries import Claim
from runflow.evaluations.vision import VisionJudge


@dataclass(frozen=True, slots=True)
class Judged:
    """The outcome, and what each judge said."""

    outcome: Outcome
    verdicts: list[dict[str, Any]]


class Bench:
    """Everything that it takes to judge: files, judging processes, and the vision-language judge where there is one."""

    def __init__(self, files: Files, pool: JudgingPool, vision: VisionJudge | None, folder: Path) -> None:
        """Keep the images of each evaluation in a folder of its own below `folder`, while it is judged."""
        self._files = files
        self._pool = pool
        self._vision = vision
        self._folder = folder

    async def judge(self, held: Claim) -> Judged:
        """Judge an evaluation. Raises `EvaluationFailed`."""
        with _own_folder(self._folder / str(held.claim_id)) as folder:
            image = await self._files.image(held, folder)
            references, notes = await self._files.references(held, folder)
            task = {
                "task_type": held.task_type,
                "task_description": held.task_description,
                "generation_prompt": held.generation_prompt,
                "evaluation_instructions": held.evaluation_instructions,
                "input_attributes": held.input_attributes,
            }
            job = {
                **task,
                "folder": str(folder),
                "image": image,
                "references": references,
                "preview": self._vision is not None,
            }
            findings = await self._found(job)
            verdicts = list(findings.verdicts)
            if self._vision is not None and (folder / "preview-0.jpg").exists():
                verdicts.append(await self._vision.judge(task, _previews(folder, references)))
        if all(verdict["passed"] is None for verdict in verdicts):
            message = "No judge could tell anything about the image. The operator's log has the reasons."
            raise EvaluationFailed(FailureCode.JUDGING_FAILED, message, is_final=False)
        return Judged(decide(verdicts, notes), verdicts)

    async def _found(self, job: dict[str, Any]) -> Findings:
        if said := extras.lacking("evaluate"):
            # Another server process may have its judges: it gets the next attempt, or the one after.
            raise EvaluationFailed(FailureCode.JUDGING_FAILED, said, is_final=False)
        try:
            return await self._pool.judge(job)
        except ImageRefused as refused:
            message = f"{refused} Scale it down and submit it again."
            raise EvaluationFailed(FailureCode.IMAGE_TOO_LARGE, message, is_final=True) from None
        except JudgingFailed as failed:
            message = f"The image could not be judged: while it was decoded, {failed.reason}"
            raise EvaluationFailed(FailureCode.JUDGING_FAILED, message, is_final=False) from failed


def _previews(folder: Path, references: list[dict[str, Any]]) -> list[tuple[str, bytes]]:
    labels = ["The generated image:"]
    for number, _ in enumerate(references, start=1):
        labels.append(f"Reference image {number} (the data tells what it is):")
    paths = [folder / f"preview-{number}.jpg" for number in range(len(labels))]
    return [(label, path.read_bytes()) for label, path in zip(labels, paths, strict=True) if path.exists()]


@contextlib.contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def clear_leftovers(folder: Path, older_than_seconds: float) -> None:
    """Remove folders that processes which died have left: those not touched for so long."""

    def clear() -> None:
        if not folder.exists():
            return
        for left in folder.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > older_than_seconds:
                    shutil.rmtree(left, ignore_errors=True)

    await asyncio.to_thread(clear)
