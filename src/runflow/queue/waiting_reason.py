"""Why a run still waits, in one sentence with the next step (docs/api/runs.md, "Why a run waits")."""

import time

from runflow.queue.choose import ANY_GPU
from runflow.web.services import Services
from runflow.workers import queries
from runflow.workers.queries import ConnectedWorker

REMEMBER_SECONDS = 1.0


class WaitingReasons:
    """Looks at the connected workers, at most once a second."""

    def __init__(self, services: Services) -> None:
        """Ask this process's database."""
        self._services = services
        self._workers: list[ConnectedWorker] = []
        self._until = 0.0

    async def waiting_reason(self, gpu_class: str) -> str:
        """Return why a queued run of this GPU class is not running yet."""
        if time.monotonic() > self._until:
            async with self._services.db.system(durable=False) as transaction:
                self._workers = await queries.connected(transaction, queries.CONNECTED_SECONDS)
            self._until = time.monotonic() + REMEMBER_SECONDS
        return reason(self._workers, gpu_class)


def reason(workers: list[ConnectedWorker], gpu_class: str) -> str:
    """Decide the sentence from the connected workers."""
    if not workers:
        return "No worker is connected. Start one with `runflow worker --server URL --token-file FILE`."
    able = [worker for worker in workers if gpu_class == ANY_GPU or worker.gpu_code in gpu_class.split(",")]
    if not able:
        there = ", ".join(sorted({worker.gpu_code for worker in workers}))
        return (
            f"No connected worker has the GPU class {gpu_class} (connected: {there}). "
            "Start one, or set the workflow's `gpu_mode` to `auto`."
        )
    ready = [worker for worker in able if worker.status_code == "ready"]
    if not ready:
        worker = able[0]
        detail = worker.status_detail or "It has no engine that works."
        return f"The worker {worker.name} cannot run anything yet: {detail}"
    working = [worker for worker in ready if not worker.draining]
    if not working:
        return (
            f"The worker {ready[0].name} is draining: it takes no new runs. Start another one, or let it work again "
            f"with `runflow workers undrain {ready[0].name}`."
        )
    if all(worker.paused for worker in working):
        return (
            f"The worker {working[0].name} asks for work but does not answer what it is offered, so it gets none for "
            "a minute. Look at its log, and at the proxy between it and the server."
        )
    return "Waiting for a free worker."
