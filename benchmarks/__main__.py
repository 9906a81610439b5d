"""`scripts/bench`: every benchmark, or the one that is named: `scripts/bench platform --runs 400`."""

import sys

from benchmarks import (
    cli,
    deliveries,
    engines,
    evaluations,
    gpu,
    idle,
    images,
    lists,
    models,
    platform,
    reads,
    runtimes,
    scheduling,
    startup,
)
from benchmarks.chaos import command as chaos

ALL = {
    "cli": cli.main,
    "platform": platform.main,
    "images": images.main,
    "reads": reads.main,
    "deliveries": deliveries.main,
    "lists": lists.main,
    "idle": idle.main,
    "startup": startup.main,
    "engines": engines.main,
    "gpu": gpu.main,
    "runtimes": runtimes.main,
    "models": models.main,
    "evaluations": evaluations.main,
    "scheduling": scheduling.main,
}
BY_NAME = {"chaos": chaos.main}
"""Those that run only when they are named: they judge, and measure beside it."""


def main() -> None:
    """Run them."""
    named = sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else None
    known = ALL if named is None else ALL | BY_NAME
    if named is not None and named not in known:
        sys.exit(f"There is no benchmark {named!r}. There are: {', '.join(known)}.")
    if named is not None:
        del sys.argv[1]
    for name, run in known.items():
        if named in (None, name):
            run()


if __name__ == "__main__":
    main()
