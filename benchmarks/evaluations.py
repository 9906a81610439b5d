"""What judging costs: seconds per image and judge, by size, beside the floor of decoding the same file with Pillow.

`--limits` prints instead what the judges measure on the generated corpus: where the limits in docs/evaluations.md come
from.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from runflow.evaluations.judges.blur import edge_sigma
from runflow.evaluations.judges.duplicate import compare
from runflow.evaluations.judges.exposure import measure
from runflow.evaluations.judges.noise import noise_sigma
from runflow.evaluations.judges.picture import Picture
from runflow.evaluations.runner.judging import JudgingPool, judging_pool
from tests.support import picture_corpus

SIZES = ((512, 512), (1024, 1024), (3840, 2160))


def decode_floor(path: Path, rounds: int) -> float:
    """Return the median seconds of decoding the file."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        with Image.open(path) as image:
            image.convert("RGB").load()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


async def judge_one(pool: JudgingPool, folder: Path, width: int, height: int, rounds: int) -> None:
    """Print one line: total, floor and each judge. The picture is also its own input, so that every judge speaks."""
    texts = dict.fromkeys(("task_description", "generation_prompt", "evaluation_instructions"))
    job: dict[str, Any] = {
        **texts,
        "folder": str(folder),
        "image": "image",
        "references": [{"file": "image", "kind": "input", "description": None}],
        "task_type": "edit",
        "input_attributes": {"width": width, "height": height},
    }
    times, judges = [], []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        found = await pool.judge(job)
        times.append(time.perf_counter() - started)
        judges.append({verdict["name"]: verdict["duration_ms"] for verdict in found.verdicts})
    floor = decode_floor(folder / "image", rounds)
    total = statistics.median(times[1:])
    each = ", ".join(f"{name} {statistics.median(said[name] for said in judges[1:]):.0f}" for name in judges[0])
    print(f"  {width:4} × {height:4}  {total:6.3f} s  {total / floor:5.1f} × decoding ({floor:.3f} s)   ms: {each}")


async def cost(rounds: int) -> None:
    """Print the cost of every size, and what the process takes."""
    print("judging, seconds per image (median); broken_output includes decoding")
    async with judging_pool(1) as pool:
        for width, height in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                picture_corpus.good("portrait", 1, width, height).save(Path(folder) / "image", "PNG")
                await judge_one(pool, Path(folder), width, height, rounds)
        (process,) = (child for child in psutil.Process().children() if "judges" in " ".join(child.cmdline()))
        print(f"  the judging process holds {process.memory_info().rss / 2**20:.0f} MiB after it")


def spread(values: Iterable[float | None]) -> str:
    """Return lowest, median and highest of the values that there are."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return "nothing to measure"
    return f"{known[0]:6.2f}  {statistics.median(known):6.2f}  {known[-1]:6.2f}"


def limits(seeds: int) -> None:
    """Print lowest, median and highest of what is measured on good and on spoiled pictures."""
    good = [
        image if quality is None else picture_corpus.jpeg(image, quality)
        for _, image in picture_corpus.every_good(seeds)
        for quality in (None, 80)
    ]
    photographs = [
        picture_corpus.good(kind, seed, side, side)
        for kind in picture_corpus.PHOTOGRAPHIC
        for side in (512, 1024)
        for seed in range(seeds)
    ]
    print(f"{len(good)} good pictures, {len(photographs)} photographs to spoil: lowest, median, highest")
    print(f"  blur σ        good           {spread(edge_sigma(Picture(image).view) for image in good)}")
    for sigma in (1, 1.5, 2, 2.5, 3, 4, 6):
        found = spread(edge_sigma(Picture(picture_corpus.blurred(image, sigma)).view) for image in photographs)
        print(f"                blurred {sigma:<4}   {found}")
    print(f"  noise σ       good, white    {spread(_white(image) for image in good)}")
    for sigma in (4, 8, 12, 16, 24):
        found = spread(_white(picture_corpus.noisy(image, sigma)) for image in photographs)
        print(f"                noisy {sigma:<4}     {found}")
    _light("brightest", lambda picture: measure(picture).brightest, good, photographs, (-5, -4, -3, -2))
    _light("burnt share", lambda picture: measure(picture).burnt, good, photographs, (1, 2, 3, 4))
    same = [compare(Picture(picture_corpus.jpeg(image, 60)), Picture(image)) for image in photographs]
    print(f"  likeness      SSIM           {spread(one.ssim for one in same if one)}   (JPEG of quality 60)")
    print(f"                colour         {spread(one.colour for one in same if one)}")


def _white(image: Image.Image) -> float | None:
    found = noise_sigma(Picture(image).luma)
    return None if found is None or found[1] < 1.5 else found[0]


def _light(
    name: str,
    of: Callable[[Picture], float],
    good: list[Image.Image],
    photographs: list[Image.Image],
    stops: tuple[int, ...],
) -> None:
    print(f"  {name:12}  good           {spread(of(Picture(image)) for image in good)}")
    for stop in stops:
        found = spread(of(Picture(picture_corpus.exposed(image, stop))) for image in photographs)
        print(f"                {stop:+} stops        {found}")


def main() -> None:
    """Measure cost, or limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--limits", action="store_true", help="what the judges measure on the corpus")
    parser.add_argument("--seeds", type=int, default=3, help="pictures of each kind and size, with --limits")
    given = parser.parse_args()
    if given.limits:
        limits(given.seeds)
    else:
        asyncio.run(cost(given.rounds))


if __name__ == "__main__":
    main()
