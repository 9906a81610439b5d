"""What the messages of one prompt told of its end: the history entry, as long as they leave no doubt about it.

ComfyUI writes the entry from the same values that it sends, so whoever heard all of them need not ask for it. That
saves a request at the end of each run, which is when its caller waits.
"""

from collections.abc import Mapping
from typing import Any

_ENDS_BADLY = ("execution_error", "execution_interrupted")
_KEPT = ("executed", "execution_cached", "execution_start", "execution_success")


MOST_CHARACTERS = 8 * 1024 * 1024
"""Of the messages that are kept. Who tells more is asked for the history, which has a bound of its own."""


class Told:
    """Gathers the messages of one prompt, from its start on.

    Only a prompt that executed every node and succeeded is told in full. Nodes that were cached may have outputs that
    no message tells of; an output that is null stands for one of a node's twin; why a prompt failed has to be read from
    the history anyway.
    """

    def __init__(self) -> None:
        self._outputs: dict[str, Mapping[str, Any]] = {}
        self._messages: dict[str, Mapping[str, Any]] = {}
        self._in_doubt = False
        self._characters = 0

    def take(self, kind: str, data: Mapping[str, Any], size: int = 0) -> None:
        """Take one message of the prompt, of so many characters."""
        if kind in _KEPT:
            self._characters += size
            if self._characters > MOST_CHARACTERS:
                self.doubt()
        if self._in_doubt:
            return
        if kind == "executed":
            output = data.get("output")
            if isinstance(output, Mapping) and output:
                self._outputs[str(data.get("node"))] = output
            else:
                self.doubt()
        elif kind == "execution_cached":
            self._messages[kind] = data
            if data.get("nodes"):
                self.doubt()
        elif kind in ("execution_start", "execution_success"):
            self._messages[kind] = data
        elif kind in _ENDS_BADLY:
            self.doubt()

    def doubt(self) -> None:
        """A message was lost, or could not be read: it may have been of this prompt."""
        self._in_doubt = True
        self._outputs.clear()
        self._messages.clear()

    @property
    def entry(self) -> dict[str, Any] | None:
        """The history entry as far as its end needs it, or None where only the engine can say."""
        started, cached, succeeded = (
            self._messages.get(kind) for kind in ("execution_start", "execution_cached", "execution_success")
        )
        if self._in_doubt or started is None or cached is None or succeeded is None:
            return None
        messages = [["execution_start", started], ["execution_success", succeeded]]
        return {"outputs": self._outputs, "status": {"status_str": "success", "completed": True, "messages": messages}}
