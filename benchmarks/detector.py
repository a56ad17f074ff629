"""Mask R-CNN R50-FPN against torchvision's and detectron2's: time and memory of both directions.

    python benchmarks/detector.py --repeats 5 --write
    PYTHONPATH=/path/to/detectron2 python benchmarks/detector.py --repeats 5 --write

All models hold the same weights and see the same pixels. Outputs are compared before anything is
timed. Runs alternate between the models; medians and ratios are reported. Peak memory is how far
the resident set of a fresh process rises above the built model while it runs the task twice.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
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

from resnet_backbone.structures import Batch

# The peers' models with our weights, which the parity tests build too.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
import peers

RESULTS = Path(__file__).with_name("RESULTS.md")
OURS = "ours"
# torchvision resizes to 800 px by default, in training too: not the same pixels, but what one gets.
RESIZING = "torchvision, by default at 800 px"
# (height, width), images: one of 480 x 640 with its short side at 800; two as they are.
TASKS = {"inference": ((800, 1088), 1), "training": ((480, 640), 2)}
TARGETS = {  # at most this fraction of the peer's time
    ("inference", "torchvision"): 0.75,
    ("inference", "detectron2"): 0.75,
    ("training", "torchvision"): 0.45,
    ("training", "detectron2"): 0.95,
}


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


def run_once(contender: Contender, task: str, batch: Batch) -> float:
    """Returns the seconds of one inference or one training step without the optimizer."""
    contender.model.train(task == "training")
    start = time.perf_counter()
    if task == "inference":
        with torch.inference_mode():
            contender.infer(batch)
    else:
        sum(contender.losses(batch).values()).backward()
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


def measure(names: list[str], repeats: int, device: str) -> tuple[dict[str, Any], str]:
    """Returns seconds by task and contender, alternating between the contenders."""
    contenders = {name: build(name, device) for name in names}
    parity = assert_parity(contenders, make_batch("inference", device))
    print(f"parity: {parity}", flush=True)
    seconds: dict[str, Any] = {}
    for task in TASKS:
        batch = make_batch(task, device)
        racing = contenders if task == "training" else without(contenders, RESIZING)
        for contender in racing.values():  # warm-up
            run_once(contender, task, batch)
        runs: dict[str, list[float]] = {name: [] for name in racing}
        for repeat in range(repeats):
            for name, contender in racing.items():
                runs[name].append(run_once(contender, task, batch))
            print(f"{task} {repeat + 1}/{repeats}", {n: round(r[-1], 2) for n, r in runs.items()})
        seconds[task] = runs
    return seconds, parity


def without(contenders: dict[str, Contender], name: str) -> dict[str, Contender]:
    """Returns the contenders but one."""
    return {key: value for key, value in contenders.items() if key != name}


def peak_memory(name: str, task: str, device: str) -> float:
    """Returns the MiB that building a model and running a task twice takes, in a fresh process."""
    command = [sys.executable, __file__, "--memory-of", name, task, "--device", device]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(output.splitlines()[-1])["mib"])


def print_own_memory(name: str, task: str, device: str) -> None:
    """The fresh process's part of `peak_memory`."""
    contender, batch = build(name, device), make_batch(task, device)
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the high-water mark
    before = _resident("VmRSS")
    for _ in range(2):
        run_once(contender, task, batch)
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


def table(seconds: dict[str, Any], memory: dict[str, dict[str, float]]) -> str:
    """Returns the results as a Markdown table."""
    lines = [
        "| task | model | seconds (median) | spread | ours / it | target | peak memory, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, runs in seconds.items():
        own = statistics.median(runs[OURS])
        for name, values in runs.items():
            median = statistics.median(values)
            ratio = "" if name == OURS else f"{own / median:.2f}"
            target = TARGETS.get((task, name))
            goal = "" if target is None else f"at most {target}"
            spread = f"{min(values):.3g} to {max(values):.3g}"
            mib = f"{memory[task][name]:.0f}"
            lines.append(
                f"| {task} | {name} | {median:.3g} | {spread} | {ratio} | {goal} | {mib} |"
            )
    return "\n".join(lines)


def header(device: str, repeats: int) -> str:
    """Returns what the numbers depend on."""
    machine = torch.cuda.get_device_name() if device == "cuda" else _cpu_name()
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    threads = "" if device == "cuda" else f", {torch.get_num_threads()} threads"
    command = f"`python benchmarks/detector.py --device {device} --repeats {repeats} --write`"
    return f"{machine}{threads}; {versions}; {date.today()}; {command}"


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def write(device: str, text: str) -> None:
    """Replaces the device's section of RESULTS.md."""
    start, end = f"<!-- detector {device} -->", f"<!-- end detector {device} -->"
    content = RESULTS.read_text()
    before, _, rest = content.partition(start)
    RESULTS.write_text(f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}")


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
    parser.add_argument("--memory-of", nargs=2, metavar=("MODEL", "TASK"), help=argparse.SUPPRESS)
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
        task: {name: peak_memory(name, task, options.device) for name in seconds[task]}
        for task in TASKS
    }
    text = f"{header(options.device, options.repeats)}\n\nParity first: {parity}.\n\n"
    text += table(seconds, memory)
    print(text)
    if options.write:
        write(options.device, text)
        print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
