"""COCO's twelve numbers by hotcoco, faster-coco-eval and pycocotools: seconds from the same arrays.

    python benchmarks/evaluation.py --repeats 5 --write
    python benchmarks/evaluation.py --images 500 --repeats 3

Random ellipses and detections, seeded: 100 detections in each image, 80 classes. Everyone's numbers
are compared before anything is timed. The contenders take turns; medians and ratios are reported.
Each starts from arrays and ends with the twelve numbers, so the time includes the dictionaries that
all but ours want.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
from datetime import date
from importlib.metadata import version

import numpy as np
import torch
from evaluation_contenders import CLASSES, CONTENDERS, DETECTIONS, OURS, Data, make_data
from results_file import machine, record

TASKS = ("bbox", "segm")
TARGETS = {"pycocotools": 20, "faster-coco-eval": 4}  # at least so many times our time
TOLERANCE = 1e-9


def assert_equal(data: Data, task: str) -> str:
    """Compares everyone's numbers, and says how near they are; a warm-up, too.

    Raises:
        AssertionError: someone computes something else, so that its time means nothing.
    """
    numbers = {name: run(data, task) for name, run in CONTENDERS.items()}
    expected = numbers["pycocotools"]
    worst = max(float(np.abs(found - expected).max()) for found in numbers.values())
    assert worst <= TOLERANCE, numbers
    assert 0.05 < expected[0] < 0.95, f"AP is {expected[0]:.3f}: too easy or too hard to compare"
    return f"{task}: AP {expected[0]:.3f}, all twelve numbers within {worst:.0e} of pycocotools'"


def race(data: Data, task: str, repeats: int) -> dict[str, list[float]]:
    """Returns seconds by contender."""
    runs: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for repeat in range(repeats):
        for name, run in CONTENDERS.items():
            gc.collect()  # what the one before left is not this one's to clean up
            start = time.perf_counter()
            run(data, task)
            runs[name].append(time.perf_counter() - start)
        print(f"{task} {repeat + 1}/{repeats}", {n: f"{r[-1]:.2f}" for n, r in runs.items()})
    return runs


def table(seconds: dict[str, dict[str, list[float]]]) -> str:
    """Returns the results as a Markdown table."""
    lines = [
        "| task | evaluator | seconds (median) | spread | its time / ours | target |",
        "|---|---|---|---|---|---|",
    ]
    for task, runs in seconds.items():
        own = statistics.median(runs[OURS])
        for name, values in runs.items():
            median = statistics.median(values)
            ratio = "" if name == OURS else f"{median / own:.1f}"
            goal = f"at least {TARGETS[name]}" if name in TARGETS else ""
            spread = f"{min(values):.2f} to {max(values):.2f}"
            lines.append(f"| {task} | {name} | {median:.2f} | {spread} | {ratio} | {goal} |")
    return "\n".join(lines)


def header(images: int, repeats: int) -> str:
    """Returns what the numbers depend on."""
    packages = ("hotcoco", "faster-coco-eval", "pycocotools", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{machine('cpu')}, {os.cpu_count()} cores, {capability}; {versions}, Python"
        f" {platform.python_version()}; {date.today()}; {images} images x {DETECTIONS} detections x"
        f" {CLASSES} classes;"
        f" `python benchmarks/evaluation.py --images {images} --repeats {repeats} --write`"
    )


def main() -> None:
    """Measures, prints, and with --write records."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="record in benchmarks/RESULTS.md")
    options = parser.parse_args()
    data = make_data(options.images)
    parity = [assert_equal(data, task) for task in TASKS]
    print(f"parity: {'; '.join(parity)}", flush=True)
    seconds = {task: race(data, task, options.repeats) for task in TASKS}
    text = f"{header(options.images, options.repeats)}\n\nParity first: {'; '.join(parity)}.\n\n"
    text += table(seconds)
    print(text)
    if options.write:
        record("evaluation", machine("cpu"), text)


if __name__ == "__main__":
    main()
