"""Translates a detectron2 YAML file into this package's configuration.

Keys that neither the file nor its `_BASE_` sets have detectron2's default, not ours. Every key that
affects the result is either translated or rejected with an error, see `detectron2_keys`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_backbone.config.detectron2_keys import ALWAYS, KEYS, MASKS, Key
from resnet_backbone.config.detectron2_settings import Settings, names_detectron2, read_settings
from resnet_backbone.config.explain import show
from resnet_backbone.config.strict_yaml import Keys

# (DEPTH, NUM_GROUPS, WIDTH_PER_GROUP). The basic blocks of depths 18 and 34 have only one form.
_NETWORKS = {
    (18, 1, 64): "resnet18",
    (34, 1, 64): "resnet34",
    (50, 1, 64): "resnet50",
    (101, 1, 64): "resnet101",
    (152, 1, 64): "resnet152",
    (50, 32, 4): "resnext50_32x4d",
    (101, 32, 8): "resnext101_32x8d",
    (101, 64, 4): "resnext101_64x4d",
    (50, 1, 128): "wide_resnet50_2",
    (101, 1, 128): "wide_resnet101_2",
}

# detectron2/data/datasets/builtin.py: name -> images, annotations, both relative to "coco".
_COCO = {
    f"coco_{name}": (images, f"annotations/instances_{annotations}.json")
    for name, images, annotations in (
        ("2014_train", "train2014", "train2014"),
        ("2014_val", "val2014", "val2014"),
        ("2014_minival", "val2014", "minival2014"),
        ("2014_valminusminival", "val2014", "valminusminival2014"),
        ("2017_train", "train2017", "train2017"),
        ("2017_val", "val2017", "val2017"),
        ("2017_val_100", "val2017", "val2017_100"),
    )
}


@dataclass
class Translation:
    """A detectron2 configuration in this package's keys.

    Attributes:
        tree: The configuration as nested mappings.
        origins: Where the value of each key in `tree` was written.
        problems: The errors found, one sentence each, starting with detectron2's key.
        overrides: The command-line arguments that set this package's keys.
    """

    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[Keys, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)


def translate(path: Path, overrides: Sequence[str] = ()) -> Translation:
    """Translates a file, its bases, and those `overrides` that set detectron2's keys.

    The `SOLVER` keys, also as overrides, refer to a batch of `SOLVER.IMS_PER_BATCH` images. They
    are scaled only if `solver.batch_size` is then set to another number; detectron2 does not scale
    them.

    Raises:
        ConfigError: a file cannot be read, or `_BASE_` is invalid.
    """
    theirs = [override for override in overrides if names_detectron2(override)]
    settings = read_settings(path, theirs)
    ours = [override for override in overrides if override not in theirs]
    result = Translation(problems=settings.problems, overrides=ours)
    if settings["MODEL.META_ARCHITECTURE"] == KEYS["MODEL.META_ARCHITECTURE"].default:
        _Translator(settings, result).run()
    else:  # the meaning of the other keys depends on the architecture, so they are not checked
        settings.refuse("MODEL.META_ARCHITECTURE", "'GeneralizedRCNN'")
    return result


class _Translator:
    """Translates key by key: first those that map to a single key of ours, then the others."""

    def __init__(self, settings: Settings, result: Translation) -> None:
        self.settings = settings
        self.result = result

    def run(self) -> None:
        """Fills in the result."""
        architecture = self._architecture()
        parts = {ALWAYS, architecture} | ({MASKS} if self.settings["MODEL.MASK_ON"] else set())
        self._put("model.architecture", architecture, "MODEL.BACKBONE.NAME")
        for name, key in KEYS.items():
            self._check(name, key, parts)
            if key.target is not None:
                self._convert(name, key, key.target)
        self._anchors(5 if architecture == "fpn" else 1)
        self._network()
        self._deformable()
        self._schedule()
        self._datasets()
        if "OUTPUT_DIR" in self.settings.written:
            self._put("output", self.settings["OUTPUT_DIR"], "OUTPUT_DIR")

    def _put(self, target: str, value: object, key: str) -> None:
        """Sets our key `target` to `value`, which detectron2's `key` determined."""
        *sections, last = keys = tuple(target.split("."))
        tree = self.result.tree
        for section in sections:
            tree = tree.setdefault(section, {})
        tree[last] = value
        self.result.origins[keys] = f"{self.settings.origin(key)}, {key}"

    def _check(self, name: str, key: Key, parts: set[str]) -> None:
        for part, accepted in key.accepted.items():
            if part in parts and self.settings[name] not in accepted:
                self.settings.refuse(name, " or ".join(map(show, accepted)))
                return

    def _convert(self, name: str, key: Key, target: str) -> None:
        value = self.settings[name]
        if isinstance(key.convert, Mapping):
            if value not in key.convert:
                self.settings.refuse(name, f"one of {', '.join(map(show, key.convert))}")
                return
            value = key.convert[value]
        elif key.convert is not None:
            try:
                value = key.convert(value)
            except ValueError as error:
                self.settings.refuse(name, str(error))
                return
        self._put(target, value, name)

    def _architecture(self) -> str:
        """Returns the architecture of this backbone and these heads, or the closest one."""
        settings = self.settings
        backbone, heads = settings["MODEL.BACKBONE.NAME"], settings["MODEL.ROI_HEADS.NAME"]
        known = ("build_resnet_backbone", "build_resnet_fpn_backbone")
        if backbone not in known:
            settings.refuse("MODEL.BACKBONE.NAME", " or ".join(map(show, known)))
        if "fpn" in backbone:
            if heads != "StandardROIHeads":
                settings.refuse("MODEL.ROI_HEADS.NAME", "'StandardROIHeads' with FPN")
            return "fpn"
        if heads not in ("Res5ROIHeads", "StandardROIHeads"):
            settings.refuse("MODEL.ROI_HEADS.NAME", "'Res5ROIHeads' or 'StandardROIHeads'")
        return "dc5" if heads == "StandardROIHeads" else "c4"

    def _anchors(self, maps: int) -> None:
        key = "MODEL.ANCHOR_GENERATOR.SIZES"
        anchors = self.result.tree["model"]["rpn"]["anchors"]
        if len(anchors["sizes"]) not in (1, maps):
            wanted = "one list" if maps == 1 else f"one list, or one for each of {maps} maps"
            self.settings.refuse(key, wanted)
            anchors["sizes"] = anchors["sizes"][:1]  # otherwise the schema reports it a second time

    def _network(self) -> None:
        prefix = "MODEL.RESNETS."
        depth, groups, width, channels = (
            self.settings[prefix + name]
            for name in ("DEPTH", "NUM_GROUPS", "WIDTH_PER_GROUP", "RES2_OUT_CHANNELS")
        )
        depths = sorted({known for known, _, _ in _NETWORKS})
        if depth not in depths:
            self.settings.refuse(f"{prefix}DEPTH", f"one of {', '.join(map(str, depths))}")
            return
        basic = depth < 50
        width = 64 if basic else width  # detectron2 ignores the width of basic blocks
        if channels != (expected := 64 if basic else 256):
            self.settings.refuse(f"{prefix}RES2_OUT_CHANNELS", f"{expected} with DEPTH {depth}")
        by_groups = {(g, w) for d, g, w in _NETWORKS if d == depth}
        if (groups, width) in by_groups:
            self._put("model.backbone.name", _NETWORKS[depth, groups, width], f"{prefix}DEPTH")
        elif widths := sorted(w for g, w in by_groups if g == groups):
            wanted = f"{' or '.join(map(str, widths))} with DEPTH {depth}, NUM_GROUPS {groups}"
            self.settings.refuse(f"{prefix}WIDTH_PER_GROUP", wanted)
        else:
            wanted = " or ".join(str(g) for g in sorted({g for g, _ in by_groups}))
            self.settings.refuse(f"{prefix}NUM_GROUPS", f"{wanted} with DEPTH {depth}")

    def _deformable(self) -> None:
        prefix = "MODEL.RESNETS.DEFORM_"
        chosen = self.settings[f"{prefix}ON_PER_STAGE"]
        if len(chosen) != 4 or not all(isinstance(on, bool) for on in chosen):
            self.settings.refuse(f"{prefix}ON_PER_STAGE", "true or false for each of res2 to res5")
            return
        stages = tuple(f"res{n}" for n, on in enumerate(chosen, start=2) if on)
        if stages and not self.settings[f"{prefix}MODULATED"]:
            expected = "true, because only deformable convolution v2 is supported"
            self.settings.refuse(f"{prefix}MODULATED", expected)
        if stages and self.settings[f"{prefix}NUM_GROUPS"] != 1:
            self.settings.refuse(f"{prefix}NUM_GROUPS", "1")
        self._put("model.backbone.deformable", stages, f"{prefix}ON_PER_STAGE")

    def _schedule(self) -> None:
        settings = self.settings
        images = "SOLVER.IMS_PER_BATCH"
        self._put("solver.batch_size", settings[images], images)
        self._put("solver.reference_batch_size", settings[images], images)
        last = settings["SOLVER.MAX_ITER"]
        warmup = min(settings["SOLVER.WARMUP_ITERS"], last)
        self._put("solver.warmup_iters", warmup, "SOLVER.WARMUP_ITERS")
        steps = [step for step in settings["SOLVER.STEPS"] if isinstance(step, int)]
        multistep = settings["SOLVER.LR_SCHEDULER_NAME"] == "WarmupMultiStepLR"
        if multistep and any(step <= warmup for step in steps):
            # In this case detectron2 would warm up to the learning rate after the step.
            settings.refuse("SOLVER.STEPS", f"steps after the warm-up, which ends at {warmup}")

    def _datasets(self) -> None:
        given = {override.partition("=")[0].strip() for override in self.result.overrides}
        # detectron2/data/datasets/builtin.py
        root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser() / "coco"
        for key, split in (("DATASETS.TRAIN", "train"), ("DATASETS.TEST", "val")):
            ours = f"data.{split}", f"data.{split}.images", f"data.{split}.annotations"
            self._put("data.root", str(root), key)
            if ours[0] in given or given.issuperset(ours[1:]):
                continue
            found = [files for name, files in _COCO.items() if self.settings[key] == (name,)]
            if not found:
                names = ", ".join(_COCO)
                self.settings.refuse(
                    key, f"one of {names}; for other data set {ours[1]}=... and {ours[2]}=..."
                )
                continue
            images, annotations = found[0]
            self._put(ours[1], images, key)
            self._put(ours[2], annotations, key)
