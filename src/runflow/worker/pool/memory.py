"""How much memory runs need, and whether the engines of two domains may stay side by side (decided, never measured)."""

from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

MOST_ENGINES = 2
"""How many live side by side, where they start quickly: one executes, and the next domain's run is prepared."""

GPU_SHARE = 0.9
"""Two engines may hold models on one GPU at the same time where their peaks come to less than this share of it."""
CONTEXT_BYTES = 600 * 2**20
"""What CUDA itself takes of the device for each engine. No engine counts it itself: it is 0.3 to 0.6 GiB."""
MACHINE_SHARE = 0.5
"""Without a GPU: where what both have resident is less than this share of the machine's memory. It is looked again and
again while one of them executes; the rest of the memory is for what it loads in between."""

_VERSIONS = 1000


class Peaks:
    """Remembers the most memory that a run of each version needed, of the versions that ran lately. In bytes."""

    def __init__(self) -> None:
        self._peaks: OrderedDict[UUID, int] = OrderedDict()

    def note(self, version_id: UUID, peak: int) -> None:
        """A run of this version had this peak; the highest counts, as inputs differ."""
        self._peaks[version_id] = max(peak, self._peaks.get(version_id, 0))
        self._peaks.move_to_end(version_id)
        if len(self._peaks) > _VERSIONS:
            self._peaks.popitem(last=False)

    def of(self, version_id: UUID) -> int | None:
        """Return the highest peak that was seen of a version, None where none was."""
        return self._peaks.get(version_id)


def highest(peaks: Iterable[int | None]) -> int | None:
    """Return the highest of these peaks, None where one of them is not known."""
    known = 0
    for peak in peaks:
        if peak is None:
            return None
        known = max(known, peak)
    return known


def fit_on_gpu(one: int | None, other: int | None, memory: int) -> bool:
    """Tell whether two engines with these peaks may both hold their models in `memory` bytes of a GPU."""
    return one is not None and other is not None and one + other + 2 * CONTEXT_BYTES < GPU_SHARE * memory


def fit_in_machine(one: int, other: int, memory: int) -> bool:
    """Tell whether two engines that have so much resident may stay in a machine of `memory` bytes; 0: not known."""
    return one > 0 and other > 0 and one + other < MACHINE_SHARE * memory
