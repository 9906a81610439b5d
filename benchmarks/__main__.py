"""`scripts/bench`: every benchmark, or the one that is named: `scripts/bench platform --runs 400`."""

import sys

from benchmarks import cli, deliveries, evaluations, idle, images, lists, platform, reads, startup

ALL = {
    "cli": cli.main,
    "platform": platform.main,
    "images": images.main,
    "reads": reads.main,
    "deliveries": deliveries.main,
    "lists": lists.main,
    "idle": idle.main,
    "startup": startup.main,
    "evaluations": evaluations.main,
}


def main() -> None:
    """Run them."""
    named = sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else None
    if named is not None and named not in ALL:
        sys.exit(f"There is no benchmark {named!r}. There are: {', '.join(ALL)}.")
    if named is not None:
        del sys.argv[1]
    for name, run in ALL.items():
        if named in (None, name):
            run()


if __name__ == "__main__":
    main()
