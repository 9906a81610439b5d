"""What the worker's engines have loaded: the server gives it what it need not load (docs/leases.md, "Choosing").

An engine holds the large models of the run that it executed last. A run without any displaces none.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from uuid import UUID

from runflow.protocol.leases import Warm
from runflow.worker.attempts.lease import Lease
from runflow.worker.pool.memory import MOST_ENGINES
from runflow.worker.settings import Isolation


@dataclass(frozen=True, slots=True)
class _Key:
    """`domain` None: the engine executes anybody's runs."""

    domain: str | None
    fingerprint: str
    models: str

    def holds(self, other: "_Key") -> bool:
        """Whether an engine that has this loaded has nothing to load for the other."""
        same_engine = (self.domain, self.fingerprint) == (other.domain, other.fingerprint)
        return same_engine and other.models in ("", self.models)


@dataclass(slots=True)
class _Loaded:
    key: _Key
    seconds: float = 0.0
    life: int | None = None
    """Of its engine; None: it is not there yet."""


Stays = Callable[[int | None, UUID], bool]
"""Tells whether the engine of a life keeps what it has loaded while one of another domain executes this version."""


class Warmth:
    """Keeps account of what is loaded where, and of what the runs that are held will load."""

    def __init__(self, isolation: Isolation) -> None:
        self._single_use = isolation is Isolation.RUN
        self._shared = isolation is Isolation.WORKER
        self._loaded: dict[int, _Loaded] = {}
        """By the life of the engine; the one that executed last stands last."""
        self._coming: dict[str, tuple[_Key, UUID]] = {}

    def took(self, lease: Lease) -> None:
        """A run has come, and will execute after those that came before."""
        self._coming[lease.id] = self._key(lease), lease.version_id

    def gone(self, lease: Lease) -> None:
        """A run is over, whether it executed or not."""
        self._coming.pop(lease.id, None)

    def begins(self, lease: Lease, life: int, *, isolates: bool) -> bool:
        """A run's prompt goes into the engine of this life; return whether that has something to load for it."""
        self._shared = self._shared or not isolates
        self._coming.pop(lease.id, None)
        key, loaded = self._key(lease), self._loaded.pop(life, None)
        warm = loaded is not None and loaded.key.holds(key)
        self._loaded[life] = loaded if warm and loaded is not None else _Loaded(key, life=life)
        return not warm

    def executed(self, life: int, seconds: float) -> None:
        """The engine of this life has executed for so long."""
        if life in self._loaded:
            self._loaded[life].seconds += seconds

    def told(self, lives: Collection[int], stays: Stays = lambda *_: True) -> list[Warm]:
        """Return what engines will have loaded once all that is held has executed, the next one first.

        Those are left out that will be gone by then, because a run that is held takes their place.
        """
        if self._single_use:
            return []
        self._loaded = {life: loaded for life, loaded in self._loaded.items() if life in lives}
        found = [_Loaded(one.key, one.seconds, one.life) for one in self._loaded.values()]
        for key, version_id in self._coming.values():
            held = next((one for one in found if one.key.holds(key)), None)
            if held is None:
                others = [one for one in found if one.key.domain != key.domain]
                found = [one for one in others if stays(one.life, version_id)][1 - MOST_ENGINES :]
                held = _Loaded(key)
            else:
                found.remove(held)
            found.append(held)
        return [
            Warm(
                domain=one.key.domain,
                fingerprint=one.key.fingerprint,
                models=one.key.models,
                executed_seconds=round(one.seconds, 3),
            )
            for one in reversed(found)
        ]

    def _key(self, lease: Lease) -> _Key:
        return _Key(None if self._shared else lease.domain, lease.fingerprint, lease.models_key)
