"""The judging process: decodes pictures and runs judges, one job at a time, away from the server.

`python -m runflow.evaluations.judges.process` is sent jobs and answers each with several messages, all of them JSON
objects (`runflow.evaluations.runner.judging` is the other end). It may be killed at any time. It ends with its input,
so it never outlives its server, not even in the middle of a job.
"""

import json
import os
import queue
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from runflow.evaluations.judges.judge import Judge
from runflow.evaluations.judges.picture import MAX_PIXELS, Picture, shrunk
from runflow.evaluations.judges.registry import all_judges, is_gate
from runflow.evaluations.judges.subject import Reference, Subject
from runflow.evaluations.judges.verdict import OPENING, PREVIEW, Severity, Verdict
from runflow.sandbox.connection import ServerConnection

MEMORY_BYTES = 3 * 1024**3
"""Address space of the process: enough for the largest picture, not enough to hurt the machine."""
FILE_BYTES = 64 * 1024**2
PREVIEW_SIDE, PREVIEW_QUALITY = 1024, 88


def work(job: dict[str, Any], judges: tuple[Judge, ...]) -> Iterator[dict[str, Any]]:
    """Do one job: say what begins, what each judge found, and at last what is left to know.

    A job: `folder`, `image` (a file in it), `references` (`file`, `kind`, `description`), the texts and attributes of a
    `Subject`, `skip` (names of judges that have spoken or cannot), `preview` (true: write `preview-0.jpg`, …).
    """
    yield {"begin": OPENING}
    subject = read_subject(job)
    if subject.fault is not None and subject.fault.subcategory == "too_large":
        yield {"refused": subject.fault.detail}
        return
    for judge in judges:
        if judge.name in job["skip"]:
            continue
        yield {"begin": judge.name}
        started = time.perf_counter()
        try:
            verdict = judge.judge(subject)
            milliseconds = round((time.perf_counter() - started) * 1000)
            said = None if verdict is None else spoken(judge, verdict, milliseconds)
        except Exception as error:
            traceback.print_exc()
            yield {"verdict": failed(judge, f"This judge failed ({type(error).__name__}) and was left out.")}
            continue
        if said is not None:
            yield {"verdict": said}
            if said["is_gate"] and not said["passed"]:
                break  # what shows nothing is not badly lit as well
    else:
        yield from previews(job, subject)
    yield {"done": {"size": subject.picture and [subject.picture.width, subject.picture.height]}}


def previews(job: dict[str, Any], subject: Subject) -> Iterator[dict[str, Any]]:
    """Write small copies of the picture and its references, where they are wanted."""
    if job["preview"] and subject.picture is not None:
        yield {"begin": PREVIEW}
        pictures = [subject.picture, *(reference.picture for reference in subject.references)]
        for number, picture in enumerate(pictures):
            if picture is not None:
                write_preview(picture, Path(job["folder"]) / f"preview-{number}.jpg")


def read_subject(job: dict[str, Any]) -> Subject:
    """Return the subject of a job."""
    folder = Path(job["folder"])
    return Subject(
        path=folder / job["image"],
        task_type=job["task_type"],
        task_description=job["task_description"],
        generation_prompt=job["generation_prompt"],
        evaluation_instructions=job["evaluation_instructions"],
        input_attributes=job["input_attributes"] or {},
        references=tuple(
            Reference(folder / reference["file"], reference["kind"], reference["description"])
            for reference in job["references"]
        ),
    )


def introduced(judge: Judge) -> dict[str, Any]:
    """Return what a record says of a judge, whatever it found."""
    return {
        "name": judge.name,
        "description": judge.description,
        "category": judge.category,
        "is_gate": is_gate(judge),
        "weight": float(judge.weight),
    }


def spoken(judge: Judge, verdict: Verdict, duration_ms: int) -> dict[str, Any]:
    """Return a verdict as JSON values that can be stored. Numbers outside 0..1 are brought into it.

    Raises what a verdict of wrong types gives, e.g. ValueError for a severity that there is not.
    """
    return {
        **introduced(judge),
        "passed": bool(verdict.passed),
        "score": _share(verdict.score),
        "confidence": _share(verdict.confidence),
        "reasoning": _storable(verdict.reasoning),
        "strength": None if verdict.strength is None else _storable(verdict.strength),
        "duration_ms": duration_ms,
        "issues": [
            {
                "category": _storable(issue.category),
                "subcategory": _storable(issue.subcategory),
                "detail": _storable(issue.detail),
                "severity": Severity(issue.severity).value,
            }
            for issue in verdict.issues
        ],
    }


def failed(judge: Judge, reasoning: str) -> dict[str, Any]:
    """Return what is said of a judge that could not tell."""
    nothing: dict[str, Any] = {
        "passed": None,
        "score": None,
        "confidence": 0.0,
        "strength": None,
        "duration_ms": 0,
        "issues": [],
    }
    return {**introduced(judge), **nothing, "reasoning": reasoning}


def write_preview(picture: Picture, path: Path) -> None:
    """Write a small copy that any program can decode."""
    shrunk(picture.image, PREVIEW_SIDE).save(path, "JPEG", quality=PREVIEW_QUALITY)


def main() -> None:
    """Serve until the input ends."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    server = ServerConnection(memory_bytes=MEMORY_BYTES, file_bytes=FILE_BYTES)
    judges = all_judges()
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(server, jobs), daemon=True).start()
    _answer(server, {"ready": [introduced(judge) for judge in judges]})
    while True:
        for message in work(json.loads(jobs.get()), judges):
            _answer(server, message)


def _read(server: ServerConnection, jobs: "queue.SimpleQueue[bytes]") -> None:
    for message in server.messages():
        jobs.put(message)
    os._exit(0)


def _answer(server: ServerConnection, message: dict[str, Any]) -> None:
    server.answer(json.dumps(message).encode())


def _storable(text: object) -> str:
    """Return a text without what neither JSON nor the database takes: NUL characters and halves of pairs."""
    return str(text).replace("\0", "").encode("utf-8", "replace").decode()


def _share(value: float) -> float:
    number = float(value)
    return min(1.0, max(0.0, number)) if number == number else 0.0


if __name__ == "__main__":
    main()
