"""What an engine says to its worker: too much, too often, too deep, or nonsense. A hostile pack speaks for its engine.

Each returns what the output node reports, as ComfyUI's `ui`, and may have said more before. What the worker holds in
memory, and whether it goes on, the test sees from outside.
"""

from pathlib import Path
from typing import Any

from .loot import Given
from .smuggling import Reported, report, smuggle

MEGABYTE = 1_000_000


@smuggle("answer-huge-message", "an event of 100 MB on the connection by which the worker follows a run")
def huge_message(folder: Path, given: Given) -> Reported:
    """Send one message that is larger than all others together."""
    _say("progress", {"value": 1, "max": 2, "node": "4", "text": "x" * 100 * MEGABYTE})
    return _harmless(folder)


@smuggle("answer-many-messages", "twenty thousand events")
def many_messages(folder: Path, given: Given) -> Reported:
    """Send more than anybody can keep."""
    for number in range(20_000):
        _say("progress", {"value": number, "max": 20_000, "node": "4"})
    return _harmless(folder)


@smuggle("answer-nonsense", "events of unknown kinds, of wrong types, for other runs, and nested a thousand deep")
def nonsense(folder: Path, given: Given) -> Reported:
    """Send what no engine sends."""
    deep: Any = "bottom"
    for _ in range(900):
        deep = [deep]
    for data in ({"node": deep}, {"node": {"a": 1}, "value": "x", "max": []}, {"prompt_id": deep}, {"prompt_id": None}):
        for kind in (
            "progress",
            "executing",
            "executed",
            "execution_success",
            "execution_error",
            "status",
            "unheard-of",
        ):
            _say(kind, data)
    return _harmless(folder)


@smuggle("answer-huge-history", "a result of 100 MB")
def huge_history(folder: Path, given: Given) -> Reported:
    """Let the history of the run hold a text without end."""
    return {"ui": {"files": [_harmless(folder)], "text": ["x" * 100 * MEGABYTE]}}


@smuggle("answer-many-outputs", "a hundred thousand output files, named and not there")
def many_outputs(folder: Path, given: Given) -> Reported:
    """Report more files than anybody would collect."""
    harmless = _harmless(folder)
    return {"ui": {"files": [harmless, *({**harmless, "filename": f"{number}.txt"} for number in range(100_000))]}}


@smuggle("answer-huge-error", "an error with a text of 20 MB")
def huge_error(folder: Path, given: Given) -> Reported:
    """Fail with a text without end."""
    raise ValueError("x" * 20 * MEGABYTE)


@smuggle(
    "answer-strange-names", "names with line feeds, control characters, surrogates, 100,000 letters, and no text at all"
)
def strange_names(folder: Path, given: Given) -> Reported:
    """Report names that break logs, terminals and encoders."""
    harmless = _harmless(folder)
    names = ["a\nb\x1b[2J.txt", "\udcff.txt", "x" * 100_000, "", ".", "a\0b", 7, None, ["a"]]
    return {"ui": {"files": [{**harmless, "filename": name} for name in names]}}


def _harmless(folder: Path) -> Reported:
    path = folder / "harmless.txt"
    path.write_text("a harmless text\n")
    return report(path)


def _say(kind: str, data: dict[str, Any]) -> None:
    import server  # type: ignore[import-not-found, unused-ignore]

    instance = server.PromptServer.instance
    instance.send_sync(kind, {"prompt_id": instance.last_prompt_id, **data}, instance.client_id)
