"""What a run will probably produce: the outputs of a version have the same names run after run.

So a run's upload URLs can be asked for while the engine still works, and the answer is there when the files are. A
wrong guess costs nothing but the usual request.
"""

from collections import OrderedDict
from collections.abc import Iterable

from runflow.worker.upload import LocalOutput

MAX_VERSIONS = 256
MAX_OUTPUTS = 16
"""Of runs with more outputs the one request is no matter."""

Expected = tuple[tuple[str, str], ...]
"""File name and content type of each output, in order."""


class Foresight:
    """Remembers what the last run of each version produced."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Expected] = OrderedDict()

    def expected(self, version_id: str) -> Expected:
        """Return what to expect of a version; nothing before its first run here."""
        return self._seen.get(version_id, ())

    def learn(self, version_id: str, outputs: Iterable[LocalOutput]) -> None:
        """Note what a run of a version produced."""
        produced = tuple((output.file.filename, output.content_type) for output in outputs)
        self._seen[version_id] = produced if len(produced) <= MAX_OUTPUTS else ()
        self._seen.move_to_end(version_id)
        if len(self._seen) > MAX_VERSIONS:
            self._seen.popitem(last=False)


def as_request(expected: Expected) -> list[dict[str, object]]:
    """Return the `files` of an uploads request for outputs whose size is not known yet."""
    return [
        {"ordinal": ordinal, "filename": filename, "content_type": content_type, "size_bytes": None}
        for ordinal, (filename, content_type) in enumerate(expected)
    ]
