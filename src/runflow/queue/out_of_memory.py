"""What follows from a node that ran out of memory: its run goes to a larger GPU, and its lane's later runs as well."""

from uuid import UUID

from runflow.protocol.completions import Completion
from runflow.protocol.failures import Failure, FailureCode
from runflow.queue import queries
from runflow.queue.rows import SmallGpu
from runflow.web.services import Services
from runflow.workflows.runtime import service as runtime


def ran_out(failure: Failure | None) -> bool:
    """Tell whether a node ran out of memory: not the engine as a whole, which may have wanted the machine's."""
    return failure is not None and failure.code is FailureCode.OUT_OF_MEMORY and failure.node_id is not None


async def too_small_gb(services: Services, lease: UUID, body: Completion) -> int:
    """Return the GiB of the GPU on which an attempt ran out of memory, where a larger one is connected; else 0.

    Where there is none, nothing would be gained by keeping the lane from this one. To be called before the attempt is
    locked: it looks at the workers.
    """
    if not ran_out(body.error):
        return 0
    async with services.db.system(durable=False) as transaction:
        gpu = await queries.gpu_of(transaction, lease=lease, worker=body.worker_id)
    if gpu is None or gpu.memory_gb == 0:
        return 0
    return gpu.memory_gb if await _is_larger_there(services, gpu) else 0


async def _is_larger_there(services: Services, gpu: SmallGpu) -> bool:
    """Tell whether a worker with more GPU memory takes runs and can run what ran out."""
    fits = await runtime.fits_of(
        services,
        org_id=gpu.org_id,
        workflow_id=gpu.comfyui_workflow_id,
        version_id=gpu.version_id,
        gpu_class=gpu.gpu_class,
    )
    workers = [fit.machine.worker for fit in fits if fit.is_able and gpu.lane_id not in fit.machine.refused]
    return any(worker.takes_runs and worker.memory_gb > gpu.memory_gb for worker in workers)
