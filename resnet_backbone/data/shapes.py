"""A synthetic dataset in COCO format for the quickstart: no download, learned within minutes.

Shapes of random colour, size and rotation are drawn on a noisy background with random lines. Shapes
may overlap; some images are empty. An instance that nothing covers is annotated with its polygon. A
partly covered one is annotated with the RLE of its visible part, as COCO annotates visible parts.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from resnet_backbone.errors import DataError, StorageError
from resnet_backbone.utils.folder_lock import LOCK, locked
from resnet_backbone.utils.text import count_of

# Category ids with gaps, like COCO's own.
CATEGORIES = {1: "circle", 3: "square", 4: "triangle", 7: "star"}
MARKER = "drawn_shapes.json"
VERSION = 1  # increase it when the same settings draw other images
MIN_VISIBLE = 0.3  # fraction of an instance; below it, too little is visible to annotate it
CIRCLE_CORNERS = 32
NOISE = 8.0  # standard deviation, in grey levels (0 to 255)
CLUTTER_LINES = (3, 8)
RADIUS = (0.08, 0.22)  # range, as fraction of the image's side

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Paths:
    """The paths of a split, relative to the root."""

    images: str
    annotations: str


@dataclass(frozen=True)
class ShapesSettings:
    """What to draw; `config.schema.ShapesConfig` describes the fields."""

    train_images: int
    val_images: int
    image_size: int
    max_shapes: int
    empty_fraction: float
    seed: int


def draw_dataset(root: Path, splits: Mapping[str, Paths], settings: ShapesSettings) -> None:
    """Draws both splits below `root`, unless the same dataset or a dataset of others is there.

    It is drawn in a folder next to `root` and moved there when complete, so an interruption leaves
    `root` as it was.

    Args:
        root: A folder that does not exist yet, or that an earlier call created. If others' files
            are in it, nothing is drawn.
        splits: The paths of "train" and "val".
        settings: What to draw.

    Raises:
        DataError: `root` contains an earlier drawing and other files, or cannot be written.
    """
    root = root.absolute()
    wanted = _Drawing(asdict(settings), {split: asdict(paths) for split, paths in splits.items()})
    fresh = root.with_name(f".{root.name}-{uuid.uuid4().hex}")
    try:
        found, present = _files_below(root), _Drawing.read(root / MARKER)
        foreign = found - (present.files if present else set())
        if present == wanted and wanted.files <= found:
            return
        if foreign and (present is None or foreign & wanted.annotations):
            logger.warning(
                "%s: nothing is drawn there, since it contains %s not drawn by us, such as %s "
                "(data.shapes=null asks for that)",
                *(root, count_of(len(foreign), "file"), min(foreign)),
            )
            return
        _refuse_to_delete(root, foreign)
        _remove_stale(root)
        with locked(fresh):
            wanted.write(fresh / MARKER)  # first, so that an interrupted drawing can be removed
            for stream, (split, paths) in enumerate(splits.items()):
                _draw_split(fresh, paths, wanted.count(split), settings, stream=stream)
        if root.exists():
            shutil.rmtree(root)
        os.replace(fresh, root)
    except OSError as error:
        raise DataError(f"{root}: cannot draw the dataset there: {error.strerror}") from error
    except StorageError as error:
        raise DataError(f"{root}: cannot draw the dataset there: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    counts = " and ".join(f"{wanted.count(split)} {split}" for split in splits)
    logger.info("%s: drew %s images of shapes (data.shapes)", root, counts)


@dataclass(frozen=True)
class _Drawing:
    """The content of the marker file: which files were drawn, and with which settings."""

    settings: Mapping[str, Any]
    splits: Mapping[str, Mapping[str, str]]
    version: int = VERSION

    @classmethod
    def read(cls, marker: Path) -> _Drawing | None:
        """Returns None if there is no valid marker file."""
        try:
            drawing = cls(**json.loads(marker.read_text()))
            return drawing if drawing.files else None
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, marker: Path) -> None:
        marker.write_text(json.dumps(asdict(self), indent=2))

    def count(self, split: str) -> int:
        """Returns the number of images of a split."""
        return int(self.settings[f"{split}_images"])

    @property
    def annotations(self) -> set[str]:
        """The annotation files, relative to the root."""
        return {os.path.normpath(paths["annotations"]) for paths in self.splits.values()}

    @property
    def files(self) -> set[str]:
        """All files of the dataset, relative to the root."""
        names = {MARKER} | self.annotations
        for split, paths in self.splits.items():
            names |= {
                os.path.normpath(f"{paths['images']}/{_file_name(number)}")
                for number in range(1, self.count(split) + 1)
            }
        return names


def _file_name(number: int) -> str:
    return f"{number:06d}.png"


def _files_below(root: Path) -> set[str]:
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: not a folder; choose another data.root")
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def _refuse_to_delete(root: Path, foreign: set[str]) -> None:
    if foreign:
        raise DataError(
            f"{root}: contains an earlier drawing, with other settings, and"
            f" {count_of(len(foreign), 'file')} that were not drawn, such as {min(foreign)}; choose"
            " another data.root to draw anew, or set data.shapes=null to train on what is there"
        )


def _remove_stale(root: Path) -> None:
    """Removes what killed processes drew beside `root`, unless a process is still drawing it."""
    name = re.compile(re.escape(f".{root.name}-") + "[0-9a-f]{32}")
    stale = [path for path in root.parent.glob(f".{root.name}-*") if name.fullmatch(path.name)]
    for path in stale:
        drawing = _Drawing.read(path / MARKER)
        if drawing is None or not _files_below(path) <= drawing.files | {LOCK}:
            continue
        with suppress(StorageError), locked(path):
            shutil.rmtree(path, ignore_errors=True)
            logger.info("removed %s, left by an interrupted process", path)


def _draw_split(
    root: Path, paths: Paths, count: int, settings: ShapesSettings, *, stream: int
) -> None:
    (root / paths.images).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        rng = np.random.default_rng((settings.seed, stream, number))
        image, instances = draw_image(rng, settings)
        name = _file_name(number)
        image.save(root / paths.images / name)
        side = settings.image_size
        images.append({"id": number, "file_name": name, "width": side, "height": side})
        for instance in instances:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **instance})
    categories = [{"id": key, "name": name} for key, name in CATEGORIES.items()]
    file = root / paths.annotations
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content))


def draw_image(
    rng: np.random.Generator, settings: ShapesSettings
) -> tuple[Image.Image, list[dict[str, Any]]]:
    """Returns an image and its annotations, which have no ids yet."""
    side = settings.image_size
    background = rng.integers(0, 256, 3)
    canvas = Image.new("RGB", (side, side), tuple(background.tolist()))
    brush = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(*CLUTTER_LINES)):
        brush.line(rng.integers(0, side, 4).tolist(), fill=_color(rng), width=1)
    outlines, categories, owner = [], [], np.zeros((side, side), dtype=np.int64)
    empty = rng.random() < settings.empty_fraction
    for number in range(1, 1 if empty else int(rng.integers(1, settings.max_shapes + 1)) + 1):
        category = int(rng.choice(list(CATEGORIES)))
        outline = _outline(rng, CATEGORIES[category], side)
        brush.polygon([tuple(corner) for corner in outline], fill=_color(rng, unlike=background))
        owner[_fill(outline, side)] = number
        outlines.append(outline)
        categories.append(category)
    pixels = np.asarray(canvas) + rng.normal(0, NOISE, (side, side, 3))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    instances = [
        instance
        for number, (outline, category) in enumerate(zip(outlines, categories, strict=True), 1)
        if (instance := _annotate(outline, category, owner == number)) is not None
    ]
    return image, instances


def _annotate(outline: np.ndarray, category: int, visible: np.ndarray) -> dict[str, Any] | None:
    whole = _fill(outline, len(visible))
    shown = int(visible.sum())
    if shown == 0 or shown < MIN_VISIBLE * whole.sum():
        return None
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    width, height = int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y
    segmentation: Any
    if shown == whole.sum():
        segmentation = [outline.ravel().tolist()]
    else:
        segmentation = coco_mask.encode(np.asfortranarray(visible, dtype=np.uint8))
        segmentation["counts"] = segmentation["counts"].decode()
    return {
        "category_id": category,
        "bbox": [x, y, width, height],
        "area": shown,
        "iscrowd": 0,
        "segmentation": segmentation,
    }


def _outline(rng: np.random.Generator, name: str, side: int) -> np.ndarray:
    """Returns float64[V, 2], the vertices of a randomly rotated shape inside the image."""
    radius = side * rng.uniform(*RADIUS)
    centre = rng.uniform(radius, side - radius, 2)
    corners = {"circle": CIRCLE_CORNERS, "square": 4, "triangle": 3, "star": 10}[name]
    angles = rng.uniform(0, 2 * math.pi) + np.arange(corners) * 2 * math.pi / corners
    reach = np.full(corners, radius)
    if name == "star":
        reach[1::2] *= 0.45
    outline = centre + reach[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    return outline.round(2)  # as it is written to the file, so that it is drawn as annotated


def _fill(outline: np.ndarray, side: int) -> np.ndarray:
    """Returns bool[side, side], the polygon rasterised by pycocotools."""
    runs = coco_mask.frPyObjects([outline.ravel()], side, side)
    return coco_mask.decode(runs)[..., 0].astype(bool)


def _color(rng: np.random.Generator, unlike: np.ndarray | None = None) -> tuple[int, ...]:
    """Returns a random colour; with `unlike`, the most different one of three random colours."""
    draws = rng.integers(0, 256, (3, 3))
    best = 0 if unlike is None else int(np.abs(draws - unlike).sum(axis=1).argmax())
    return tuple(draws[best].tolist())
