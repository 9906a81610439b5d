"""What a run will probably produce: the outputs of a version have the same names run after run.

So the worker says what it expects when it asks for a run, and the upload URLs come with the lease. A wrong guess costs
nothing but the usual request. A worker learns only from what it produced itself: a lease holds nothing of other runs.
"""

from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

from runflow.protocol.leases import Expected
from runflow.protocol.outputs import OutputName
from runflow.worker.attempts.upload import LocalOutput

MAX_VERSIONS = 8
"""They are told with every request for work."""
MAX_OUTPUTS = 16
"""Of runs with more outputs the one request is no matter."""


class ExpectedOutputs:
    """Remembers what the last run of each version produced."""

    def __init__(self) -> None:
        self._seen: OrderedDict[UUID, list[OutputName]] = OrderedDict()

    @property
    def expected(self) -> list[Expected]:
        """What to expect of the versions that ran lately, as a request for work tells it."""
        return [Expected(version_id=version_id, files=files) for version_id, files in self._seen.items()]

    def learn(self, version_id: UUID, outputs: Iterable[LocalOutput]) -> None:
        """Note what a run of a version produced."""
        files = [
            OutputName(ordinal=ordinal, filename=output.file.filename, content_type=output.content_type)
            for ordinal, output in enumerate(outputs)
        ]
        if len(files) > MAX_OUTPUTS:
            self._seen.pop(version_id, None)
            return
        self._seen[version_id] = files
        self._seen.move_to_end(version_id)
        if len(self._seen) > MAX_VERSIONS:
            self._seen.popitem(last=False)
