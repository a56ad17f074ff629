"""Loading, CIFAR and ResNet-50 training against torchvision, plain PyTorch and timm.

    python benchmarks/classification.py --images imagenet_mini --repeats 5 --write
    python benchmarks/classification.py --only resnet50 --repeats 9

Results are compared before anything is timed. Every contender then lives in a process of its own,
as ours sets the C library's allocator (resnet_backbone/utils/allocator.py), which would serve the
others too. One works at a time; they take turns; medians and ratios are reported. GPUs train in
bf16; CPUs in float32, and in bf16, too, where they have instructions for it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import classification_parity
import timm
import torch
import torchvision
from classification_contenders import CONTENDERS, IN_BF16, OURS, Settings
from results_file import bf16_units, machine, record

# What ours should reach, as a multiple of the peer's images per second.
TARGETS = {
    ("loader", "torchvision", "cpu"): 1.8,
    ("cifar", "plain PyTorch", "cpu"): 1.6,
    ("cifar", "plain PyTorch", "cuda"): 10.0,
    ("resnet50", "torchvision", "cpu"): 1.25,
    ("resnet50", "timm", "cpu"): 1.25,
    ("resnet50", "timm", "cuda"): 1.3,
}
# The same for ours in bf16 against a peer in float32, on a CPU with AMX.
BF16_TARGETS = {("resnet50", "timm", "cpu"): 3.33}
# The memory roof of eager bf16 channels_last on an H200, from shapes and 4.3 TB/s.
ROOFLINE = "ResNet-50 on an H200 at 224: 8218 images/s unfused, 10616 with fused norms"


class Contender:
    """A process that does the same work whenever it is asked to.

    Args:
        section: See `CONTENDERS`.
        name: See `CONTENDERS`.
        arguments: The command line of this run.
    """

    def __init__(self, section: str, name: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, __file__, *arguments, "--contender", section, name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def images_per_second(self) -> float:
        """Does the work once."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a contender ended early; its own message is above")
        return float(line)

    def end(self) -> None:
        """Lets the process end."""
        self._process.communicate()


def serve(section: str, name: str, settings: Settings) -> None:
    """A contender's process: a line with images per second for each line that comes in."""
    bf16 = settings.device == "cuda" or name.endswith(IN_BF16)
    run = CONTENDERS[section][name.removesuffix(IN_BF16)](replace(settings, bf16=bf16))
    for _ in sys.stdin:
        start = time.perf_counter()
        count = run()
        print(count / (time.perf_counter() - start), flush=True)


def racing(section: str, device: str) -> list[str]:
    """Returns the contenders' names, each a second time with `IN_BF16` where it is worth it."""
    names = list(CONTENDERS[section])
    if section == "loader" or device == "cuda" or bf16_units() is None:
        return names
    return [*names, *(name + IN_BF16 for name in names)]


def race(
    section: str, names: Sequence[str], repeats: int, arguments: Sequence[str]
) -> dict[str, list[float]]:
    """Returns images per second by contender; the first turn of each warms up."""
    contenders = {name: Contender(section, name, arguments) for name in names}
    runs: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats + 1):
        for name, contender in contenders.items():
            rate = contender.images_per_second()
            if repeat:
                runs[name].append(rate)
        if repeat:
            print(f"{section} {repeat}/{repeats}", {n: f"{r[-1]:.4g}" for n, r in runs.items()})
    for contender in contenders.values():
        contender.end()
    return runs


def table(section: str, runs: dict[str, list[float]], device: str) -> str:
    """Returns the results as a Markdown table."""
    bf16 = OURS + IN_BF16 in runs
    lines = [
        "| model | images/s (median) | spread | ours / it | target |"
        + " ours in bf16 / it | target |" * bf16,
        "|---|---|---|---|---|" + "---|---|" * bf16,
    ]
    for name, values in runs.items():
        row = [name, f"{statistics.median(values):.4g}", f"{min(values):.4g} to {max(values):.4g}"]
        both_bf16 = name.endswith(IN_BF16)
        key = (section, name, device)
        row += ["", ""] if both_bf16 else _ratio(runs, OURS, name, TARGETS.get(key))
        if bf16:
            goal = BF16_TARGETS.get(key) if bf16_units() == "AMX" else None
            row += _ratio(runs, OURS + IN_BF16, name, goal)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _ratio(
    runs: dict[str, list[float]], own: str, name: str, target: float | None
) -> tuple[str, str]:
    """Returns two cells: how many times as fast as `name` a contender of ours is, and should be."""
    if own == name:
        return "", ""
    ratio = statistics.median(runs[own]) / statistics.median(runs[name])
    return f"{ratio:.2f}", "" if target is None else f"at least {target}"


def header(settings: Settings, section: str, repeats: int) -> str:
    """Returns what the numbers depend on."""
    cuda = settings.device == "cuda"
    threads = "" if cuda else f", {torch.get_num_threads()} threads"
    work = {
        "loader": f"{settings.loader_images} images, 2 workers",
        "cifar": f"epochs of {settings.cifar_images} images, batch 128",
        "resnet50": f"batch {settings.batch} at {settings.size} px",
    }[section]
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    images = f" --images {settings.images.name}" if section == "loader" and settings.images else ""
    command = f"--only {section} --device {settings.device}{images} --repeats {repeats}"
    return (
        f"{machine(settings.device)}{threads}; {versions}, timm {timm.__version__}; "
        f"{date.today()}; {work}; "
        f"`python benchmarks/classification.py {command}`"
    )


def measure(section: str, settings: Settings, repeats: int, arguments: Sequence[str]) -> str:
    """Returns a section's text."""
    parity = classification_parity.check(section, settings)
    print(f"{section}, parity: {parity}", flush=True)
    runs = race(section, racing(section, settings.device), repeats, arguments)
    rows = table(section, runs, settings.device)
    text = f"{header(settings, section, repeats)}\n\nParity first: {parity}.\n\n{rows}"
    if (section, settings.device) == ("resnet50", "cuda"):
        text += f"\n\nRoofs: {ROOFLINE}."
    return text


def parse() -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--only", choices=tuple(CONTENDERS), help="one section")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=Path, help="class folders of JPEG files, for the loader")
    parser.add_argument("--loader-images", type=int, default=8192, help="read in a run")
    parser.add_argument("--cifar-images", type=int, default=50_000, help="in an epoch")
    parser.add_argument("--batch", type=int, help="of ResNet-50; default 16, 256 on a GPU")
    parser.add_argument("--size", type=int, default=224, help="of its images")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--write", action="store_true", help="record in benchmarks/RESULTS.md")
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measures, prints, and with --write records."""
    options = parse()
    warnings.filterwarnings("ignore")
    settings = Settings(
        device=options.device,
        images=options.images,
        loader_images=options.loader_images,
        cifar_images=options.cifar_images,
        batch=options.batch or (16 if options.device == "cpu" else 256),
        size=options.size,
        bf16=False,
    )
    if options.contender:
        serve(*options.contender, settings)
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("not measured: torch finds no GPU")
    for section in (options.only,) if options.only else CONTENDERS:
        if section == "loader" and (options.images is None or options.device == "cuda"):
            print("loader: not measured; it is a matter of the CPU and needs --images DIR")
            continue
        text = measure(section, settings, options.repeats, sys.argv[1:])
        print(f"\n## {section}, {options.device}\n\n{text}\n", flush=True)
        if options.write:
            record(f"classification {section} {options.device}", machine(options.device), text)
    if options.device == "cpu" and not torch.cuda.is_available():
        print("GPU: not measured, as none was at hand")


if __name__ == "__main__":
    main()
