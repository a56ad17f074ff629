"""What goes through the pretended GPU: steps of training and detection, by the shipped recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from fake_gpu.device import DEVICE, KIND, built
from fake_gpu.recorder import Recorder, Traced, kind_of
from resnet_backbone.classification.build import build_image_classifier
from resnet_backbone.classification.testing import classify_images, make_testing
from resnet_backbone.config.load import load_classification_config, load_config
from resnet_backbone.config.run_schema import SolverConfig
from resnet_backbone.data.labelled.in_memory import InMemoryImages, InMemoryTraining
from resnet_backbone.detection import nms, roi_heads
from resnet_backbone.detection.build import build_detector
from resnet_backbone.engine.optimizer import AveragedWeights, build_optimizer
from resnet_backbone.engine.state import TrainState
from resnet_backbone.engine.step import Stepper
from resnet_backbone.structures import Batch, ImageBatch, Targets
from resnet_backbone.tasks.classification.mixing import Mixing

SIZE = (800, 1344)
OBJECTS = 20  # per image, at most
CLASSES = 80


Case = Callable[[], Traced]


def detector_step(
    recipe: str,
    *overrides: str,
    images: int = 2,
    micro_batches: int = 1,
    foreground: int = 100,
) -> Traced:
    """A step of training; the second one, in which the gradient of the first is read as well."""
    cfg = load_config(recipe, [*_RANDOM, *overrides])
    model = built(lambda: build_detector(cfg, CLASSES)).train()
    batches = [_batch(images, objects=OBJECTS if foreground else 0)] * micro_batches
    return _second_step(model, cfg.solver, batches, Recorder(foreground))


def detection(recipe: str, *overrides: str, images: int = 2, kernel: bool = True) -> Traced:
    """Detection in a batch; where the host asks how many there are, it hears 1."""
    cfg = load_config(recipe, [*_RANDOM, *overrides])
    model = built(lambda: build_detector(cfg, CLASSES)).eval()
    batch = _batch(images, objects=OBJECTS)
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = dtypes.get(cfg.solver.amp)
    traced = Traced(Recorder(1))
    autocast = torch.autocast(KIND, dtype, enabled=dtype is not None)
    with traced.recorder, autocast, torch.no_grad(), _kernel(kernel):
        detections = model.detect(batch.to(DEVICE))
    for name in ("boxes", "scores", "classes", "masks"):
        values = {kind_of(getattr(image, name)) for image in detections if hasattr(image, name)}
        traced.results[name] = ", ".join(sorted(values))
    return traced


def classifier_step(recipe: str, *overrides: str, mixed: bool = False) -> Traced:
    """A step of training a classifier on images from files."""
    cfg = load_classification_config(recipe, overrides)
    model = built(lambda: build_image_classifier(cfg.model, 1000)).train()
    batch = ImageBatch(
        images=torch.zeros(64, 3, 224, 224, dtype=torch.uint8),
        labels=torch.zeros(64, dtype=torch.int64),
        keys=torch.arange(64),
        image_ids=["image"] * 64,
    )
    if not mixed:
        return _second_step(model, cfg.solver, [batch], Recorder(1))
    mixing, recorder = Mixing(0.1, 1.0, 1000, label_smoothing=0.1, seed=0), Recorder(1)
    with recorder:
        batch = mixing(batch.to(DEVICE), 0)
    return _second_step(model, cfg.solver, [batch], recorder)


def cifar_step(*overrides: str) -> Traced:
    """A step of training on images that lie on the device; cutting the batch is part of it."""
    cfg = load_classification_config("cifar10_r20", ["model.mean_image=null", *overrides])
    model = built(lambda: build_image_classifier(cfg.model, 10)).train()
    pixels = torch.zeros(512, 3, 32, 32, dtype=torch.uint8)
    names = [f"image {number}" for number in range(512)]
    split = InMemoryImages(pixels, torch.zeros(512, dtype=torch.int64), names, tuple("abcdefghij"))
    images = InMemoryTraining(
        split,
        batch_size=128,
        seed=0,
        padding=4,
        flip=0.5,
        fill=torch.tensor([1, 2, 3]),
        device=torch.device(DEVICE),
    )
    stepper = _stepper(model, cfg.solver)
    traced = Traced(Recorder(1))
    with _watched(model, traced.results), traced.recorder:
        stepper.step([images.batch(0)], 0.1, stop=False)
    return traced


def testing(name: str) -> Traced:
    """Classification of two images that lie on the device, by several views of each."""
    cfg = load_classification_config("imagenet_r50", [])
    model = built(lambda: build_image_classifier(cfg.model, 1000)).eval()
    images = [torch.zeros(3, 300, 400, dtype=torch.uint8, device=DEVICE) for _ in range(2)]
    traced = Traced(Recorder(1))
    with traced.recorder, torch.no_grad():
        found = classify_images(model.scores, images, make_testing(name))
    traced.results["probabilities"] = kind_of(found)
    return traced


def _second_step(
    model: nn.Module,
    solver: SolverConfig,
    batches: Sequence[Batch | ImageBatch],
    recorder: Recorder,
) -> Traced:
    stepper = _stepper(model, solver)
    with Recorder(recorder.found), _no_rasterizer(Recorder(0)), _kernel(True):
        stepper.step(batches, 0.01, stop=False)
    traced = Traced(recorder)
    with _watched(model, traced.results), recorder, _no_rasterizer(recorder), _kernel(True):
        stepper.step(batches, 0.01, stop=False)
    return traced


def _stepper(model: nn.Module, solver: SolverConfig) -> Stepper:
    average = None if solver.ema_decay is None else AveragedWeights(model, solver.ema_decay)
    scaler = torch.amp.GradScaler(KIND, enabled=solver.amp == "fp16")
    state = TrainState(model, build_optimizer(model, solver), scaler, average)
    return Stepper(state, model, solver, torch.device(DEVICE), deferred=True)


def _kernel(works: bool) -> mock._patch:
    """Whether the kernel of suppression is taken to work is nothing to try out here."""
    return mock.patch.object(nms, "_kernel_works", lambda device: works)


def _no_rasterizer(recorder: Recorder) -> mock._patch:
    """COCO's rasteriser needs values, on the host."""

    def rasterize(masks: Sequence[object], boxes: Tensor, resolution: int) -> Tensor:
        recorder.wait("rasterizer on the host")
        return torch.zeros(len(masks), resolution, resolution, dtype=torch.bool)

    return mock.patch.object(roi_heads, "rasterize", rasterize)


class _watched:
    """Writes the kinds of what a model outputs into `results`."""

    def __init__(self, model: nn.Module, results: dict[str, str]) -> None:
        self._model, self._results = model, results

    def __enter__(self) -> None:
        def note(model: nn.Module, inputs: object, outputs: Mapping[str, Tensor]) -> None:
            self._results.update({name: kind_of(value) for name, value in outputs.items()})

        self._hook = self._model.register_forward_hook(note)

    def __exit__(self, *error: object) -> None:
        self._hook.remove()


def _batch(images: int, *, objects: int) -> Batch:
    """A batch on the host; without objects there is padding alone."""
    padded = max(1, objects)
    square = [np.array([[8.0, 8.0], [40.0, 8.0], [40.0, 40.0]])]
    pixels = torch.zeros(images, 3, *SIZE, dtype=torch.uint8)
    return Batch(
        images=pixels.contiguous(memory_format=torch.channels_last),
        sizes=torch.tensor([SIZE] * images),
        original_sizes=[(480, 640)] * images,
        image_ids=list(range(images)),
        targets=Targets(
            boxes=torch.zeros(images, padded, 4),
            classes=torch.zeros(images, padded, dtype=torch.int64),
            valid=torch.zeros(images, padded, dtype=torch.bool),
            keys=torch.arange(images),
            masks=[[square] * max(2, objects)] * images,
        ),
    )


_RANDOM = ("model.backbone.weights=null",)
_EVERYTHING = ("solver.ema_decay=0.999", "solver.clip_grad_norm=1.0")
_MASK, _BOX = "coco_mrcnn_r50", "coco_frcnn_r50"
BF16, FP16, OFF = "solver.amp=bf16", "solver.amp=fp16", "solver.amp=off"

CASES: dict[str, Case] = {
    "train fpn mask bf16, EMA, clipping": lambda: detector_step(_MASK, BF16, *_EVERYTHING),
    "train fpn mask fp16, 2 micro-batches": lambda: detector_step(
        _MASK, FP16, "solver.accumulate=2", micro_batches=2
    ),
    "train fpn mask off, 16 images": lambda: detector_step(_MASK, OFF, images=16, foreground=2000),
    "train fpn mask bf16, no objects": lambda: detector_step(_MASK, BF16, foreground=0),
    "train fpn box bf16, AdamW": lambda: detector_step(_BOX, BF16, "solver.optimizer=adamw"),
    "train c4 mask fp16, LAMB": lambda: detector_step(f"{_MASK}_c4", FP16, "solver.optimizer=lamb"),
    "train c4 box bf16": lambda: detector_step(f"{_BOX}_c4", BF16),
    "train dc5 mask off": lambda: detector_step(f"{_MASK}_dc5", OFF),
    "train dc5 box fp16": lambda: detector_step(f"{_BOX}_dc5", FP16),
    "detect fpn mask bf16": lambda: detection(_MASK, BF16),
    "detect fpn mask off, without kernel": lambda: detection(_MASK, OFF, kernel=False),
    "detect fpn box fp16, 16 images": lambda: detection(_BOX, FP16, images=16),
    "detect c4 mask bf16": lambda: detection(f"{_MASK}_c4", BF16),
    "detect dc5 mask fp16": lambda: detection(f"{_MASK}_dc5", FP16),
    "train resnet50 bf16, mixup, LAMB": lambda: classifier_step(
        "imagenet_r50_a1", BF16, "solver.ema_decay=0.999", mixed=True
    ),
    "train resnet50 fp16": lambda: classifier_step("imagenet_r50_fast", FP16),
    "test resnet50 off, ten crops": lambda: testing("ten_crop"),
    "test resnet50 off, scales": lambda: testing("multi_scale"),
    "train cifar off": lambda: cifar_step(OFF),
    "train cifar bf16": lambda: cifar_step(BF16),
}
