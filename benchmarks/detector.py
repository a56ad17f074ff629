"""Mask R-CNN R50-FPN against torchvision's and detectron2's: time and memory of both directions.

    python benchmarks/detector.py --repeats 5 --write
    PYTHONPATH=/path/to/detectron2 python benchmarks/detector.py --repeats 5 --write

All models hold the same weights and see the same pixels. Outputs are compared, in float32, before
anything is timed. Every model runs in float32 and, where the device has instructions for it, under
autocast to bfloat16. Runs alternate; medians and ratios are reported. Peak memory is how far the
resident set of a fresh process rises above the built model while it runs the task twice.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
import torchvision
from results_file import bf16_units, machine, record

from resnet_backbone.structures import Batch
from resnet_backbone.utils import precision

# The peers' models with our weights, which the parity tests build too.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
import peers

OURS = "ours"
# torchvision resizes to 800 px by default, in training too: not the same pixels, but what one gets.
RESIZING = "torchvision, by default at 800 px"
# (height, width), images: one of 480 x 640 with its short side at 800; two as they are.
TASKS = {"inference": ((800, 1088), 1), "training": ((480, 640), 2)}
FP32, BF16 = "off", "bf16"  # values of solver.amp
NAMES = {FP32: "float32", BF16: "bf16"}

Run = tuple[str, str]  # a contender's name, and FP32 or BF16
Seconds = dict[str, dict[Run, list[float]]]  # by task


def targets(device: str) -> dict[tuple[str, str, Run], float]:
    """Returns by task, our precision, and the peer's run which part of its time ours may take."""
    goals = {
        ("inference", FP32, ("torchvision", FP32)): 0.75,
        ("inference", FP32, ("detectron2", FP32)): 0.75,
    }
    if device == "cuda":
        return goals | {
            ("training", FP32, ("torchvision", FP32)): 0.45,
            ("training", FP32, ("detectron2", FP32)): 0.95,
        }
    goals |= {
        ("training", FP32, ("torchvision", FP32)): 0.60,
        ("training", FP32, ("detectron2", FP32)): 0.65,
    }
    if bf16_units() == "AMX":
        goals |= {
            ("training", BF16, ("torchvision", FP32)): 0.19,
            ("training", BF16, ("detectron2", FP32)): 0.21,
            ("training", BF16, ("torchvision", BF16)): 0.27,
            ("training", BF16, ("detectron2", BF16)): 0.30,
        }
    elif bf16_units() is not None:
        goals |= {
            ("training", BF16, ("torchvision", FP32)): 0.45,
            ("training", BF16, ("detectron2", FP32)): 0.45,
        }
    return goals


@dataclass(frozen=True)
class Contender:
    """One model; each function takes the batch and the device it is on."""

    model: Any
    infer: Callable[[Batch], Any]
    losses: Callable[[Batch], dict[str, torch.Tensor]]


def build(name: str, device: str) -> Contender:
    """Returns a contender by name, holding the common weights."""
    ours = peers.build_ours("coco_mrcnn_r50")
    if name == OURS:
        model = ours.to(device)
        return Contender(model, model.detect, model.losses)
    if name == "torchvision":
        return _torchvision(peers.build_torchvision(ours).to(device))
    if name == RESIZING:
        return _torchvision(peers.build_torchvision(ours).to(device), short_side=800)
    import detectron2
    from detectron2.utils.events import EventStorage

    configs = Path(detectron2.__file__).parents[1] / "configs"
    model = peers.build_detectron2("coco_mrcnn_r50", ours, str(configs), device=device)

    def losses(batch: Batch) -> dict[str, torch.Tensor]:
        with EventStorage(0):
            return model(peers.detectron2_inputs(batch, training=True))

    return Contender(
        model, lambda batch: model(peers.detectron2_inputs(batch, training=False)), losses
    )


def _torchvision(model: torch.nn.Module, short_side: int | None = None) -> Contender:
    return Contender(
        model,
        lambda batch: model(peers.torchvision_inputs(batch, model, short_side)[0]),
        lambda batch: model(*peers.torchvision_inputs(batch, model, short_side)),
    )


def run_once(contender: Contender, task: str, amp: str, batch: Batch) -> float:
    """Returns the seconds of one inference or one training step without the optimizer."""
    contender.model.train(task == "training")
    layers = precision.autocast(amp, batch.images.device)
    start = time.perf_counter()
    if task == "inference":
        with torch.inference_mode(), layers:
            contender.infer(batch)
    else:
        with layers:
            losses = contender.losses(batch)
        sum(losses.values()).backward()
        contender.model.zero_grad(set_to_none=True)
    if batch.images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def make_batch(task: str, device: str) -> Batch:
    """Returns the task's input."""
    size, count = TASKS[task]
    return peers.make_batch([size] * count).to(device)


def assert_parity(contenders: dict[str, Contender], batch: Batch) -> str:
    """Compares outputs on the inference input, and says what was found equal.

    GPUs are asked for float32 here: torch's default for convolutions, TF32, has 10 bits, with which
    close scores change places. Timings keep that default.

    Raises:
        AssertionError: a model computes something else, so that its time means nothing.
    """
    for contender in contenders.values():
        contender.model.eval()
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        ours = contenders[OURS].infer(batch)[0]
        notes = [f"ours: {len(ours)} detections"]
        if "detectron2" in contenders:
            theirs = contenders["detectron2"].infer(batch)[0]["instances"]
            boxes = (ours.boxes - theirs.pred_boxes.tensor).abs().max().item()
            scores = (ours.scores - theirs.scores).abs().max().item()
            masks = (ours.masks == theirs.pred_masks).float().mean().item()
            assert boxes < 0.01 and scores < 1e-4 and masks >= 0.999, (boxes, scores, masks)
            notes.append(f"detectron2: boxes within {boxes:.1e} px, scores within {scores:.1e}")
        if "torchvision" in contenders:
            # Its anchors are rounded and its RoIAlign is not aligned, so its detections differ; its
            # features do not, and it must have as much to do.
            model = contenders["torchvision"].model
            images = contenders[OURS].model.normalize(batch)
            expected = list(model.backbone(images).values())[:4]
            found = contenders[OURS].model
            found = found.neck(found.backbone(images))[:4]
            error = max(
                ((a - b).abs().max() / b.abs().max()).item()
                for a, b in zip(found, expected, strict=True)
            )
            count = len(contenders["torchvision"].infer(batch)[0]["scores"])
            assert error < 1e-4 and count >= 0.9 * len(ours), (error, count)
            notes.append(f"torchvision: P2 to P5 within {error:.1e}, {count} detections")
    return "; ".join(notes)


def racing(task: str, names: list[str], device: str) -> list[Run]:
    """Returns who takes part in a task, and in which precision."""
    fast = precision.has_fast_bf16(torch.device(device))
    others = [name for name in names if name != RESIZING]
    runs = [(name, FP32) for name in (names if task == "training" else others)]
    return runs + [(name, BF16) for name in others if fast]


def measure(names: list[str], repeats: int, device: str) -> tuple[Seconds, str]:
    """Returns seconds by task and run, alternating between the runs, and what was compared."""
    contenders = {name: build(name, device) for name in names}
    parity = assert_parity(contenders, make_batch("inference", device))
    print(f"parity: {parity}", flush=True)
    seconds: Seconds = {}
    for task in TASKS:
        batch = make_batch(task, device)
        runs: dict[Run, list[float]] = {run: [] for run in racing(task, names, device)}
        for repeat in range(repeats + 1):
            for (name, amp), values in runs.items():
                taken = run_once(contenders[name], task, amp, batch)
                if repeat:  # the first turn of each warms up
                    values.append(taken)
        print(f"{task}: { ({run: [round(v, 3) for v in values] for run, values in runs.items()}) }")
        seconds[task] = runs
    return seconds, parity


def peak_memory(run: Run, task: str, device: str) -> float:
    """Returns the MiB that building a model and running a task twice takes, in a fresh process."""
    command = [sys.executable, __file__, "--memory-of", *run, task, "--device", device]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(output.splitlines()[-1])["mib"])


def print_own_memory(name: str, amp: str, task: str, device: str) -> None:
    """The fresh process's part of `peak_memory`."""
    contender, batch = build(name, device), make_batch(task, device)
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the high-water mark
    before = _resident("VmRSS")
    for _ in range(2):
        run_once(contender, task, amp, batch)
    rise = _resident("VmHWM") - before
    print(
        json.dumps({"mib": torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else rise})
    )


def _resident(field: str) -> float:
    """Returns a field of this process's status, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"no {field} in /proc/self/status")


def table(seconds: Seconds, memory: dict[str, dict[Run, float]], device: str) -> str:
    """Returns the results as a Markdown table."""
    lines = [
        "| task | model | layers | seconds (median) | spread | ours in float32 / it | target "
        "| ours in bf16 / it | target | peak memory, MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    goals = targets(device)
    for task, runs in seconds.items():
        for run, values in runs.items():
            name, amp = run
            row = [task, name, NAMES[amp], f"{statistics.median(values):.3g}"]
            row.append(f"{min(values):.3g} to {max(values):.3g}")
            for own in (FP32, BF16):
                goal = goals.get((task, own, run))
                row.append(_ratio(runs, own, run))
                row.append("" if goal is None or not row[-1] else f"at most {goal}")
            row.append(f"{memory[task][run]:.0f}")
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _ratio(runs: dict[Run, list[float]], own: str, run: Run) -> str:
    """Returns which part of a run's time ours takes, where that is a fair question."""
    if (OURS, own) not in runs or run == (OURS, own) or (own == FP32 and run[1] == BF16):
        return ""
    return f"{statistics.median(runs[OURS, own]) / statistics.median(runs[run]):.2f}"


def header(device: str, repeats: int) -> str:
    """Returns what the numbers depend on."""
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    threads = "" if device == "cuda" else f", {torch.get_num_threads()} threads"
    command = f"`python benchmarks/detector.py --device {device} --repeats {repeats} --write`"
    return f"{machine(device)}{threads}; {versions}; {date.today()}; {command}"


def main() -> None:
    """Measures, prints, and with --write records."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="record in benchmarks/RESULTS.md")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.memory_of:
        print_own_memory(*options.memory_of, options.device)
        return
    names = [OURS, "torchvision", RESIZING]
    try:
        import detectron2  # noqa: F401

        names.append("detectron2")
    except ImportError:
        print("detectron2 is not on PYTHONPATH: its rows are left out")
    seconds, parity = measure(names, options.repeats, options.device)
    memory = {
        task: {run: peak_memory(run, task, options.device) for run in seconds[task]}
        for task in TASKS
    }
    text = f"{header(options.device, options.repeats)}\n\nParity first: {parity}.\n\n"
    text += table(seconds, memory, options.device)
    print(text)
    if options.write:
        record(f"detector {options.device}", machine(options.device), text)


if __name__ == "__main__":
    main()
