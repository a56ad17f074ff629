"""Matches the categories of an annotation file with the classes of a detector, by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from resnet_backbone.data.coco.dataset import CocoDataset
from resnet_backbone.errors import DataError, ResnetBackboneError, WeightsError
from resnet_backbone.evaluation.coco import distinct_names
from resnet_backbone.tasks.detection.trained import Trained
from resnet_backbone.utils.text import count_of, listing

SHOWN = 30  # names of each list in the error

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classes:
    """The classes of a detector.

    Attributes:
        names: The name of each class.
        category_ids: The COCO category id of each class in the training annotations.
        source: Where they come from, for messages: a file.
    """

    names: Sequence[str]
    category_ids: Sequence[int | None]
    source: str


def in_classes_of(
    detector: Classes, dataset: CocoDataset, error: type[ResnetBackboneError] = DataError
) -> CocoDataset:
    """Returns the dataset with the detector's classes, matched by name, whatever the ids are.

    The file may have fewer categories than the detector: the others cannot be evaluated on it. It
    may have further categories only if no annotation uses them. What is matched by name in spite of
    other ids, or left out, is logged.

    Args:
        detector: The classes to predict.
        dataset: The images to evaluate on.
        error: The type of the error.

    Raises:
        ResnetBackboneError: of the type `error`; annotations are of a category that the detector
            does not have, or there is no category in common; the message lists both.
    """
    own = distinct_names(dataset.class_names, dataset.category_ids)
    wanted = distinct_names(detector.names, detector.category_ids)
    places = {name: place for place, name in enumerate(wanted)}
    used = dataset.used_classes
    unknown = [number for number, name in enumerate(own) if name not in places]
    if any(used[unknown]) or len(unknown) == len(own):
        raise error(_mismatch(own, [own[n] for n in unknown if used[n]], wanted, detector, dataset))
    ids = {name: key for name, key in zip(own, dataset.category_ids, strict=True)}
    _report(own, ids, wanted, detector, dataset)
    return dataset.with_classes(
        detector.names,
        [ids.get(name) for name in wanted],
        [places.get(name, -1) for name in own],
    )


def in_classes_of_trained(trained: Trained, dataset: CocoDataset, source: str) -> CocoDataset:
    """Returns the dataset with the classes of a weight file, see `in_classes_of`.

    A file that does not name its classes must have as many as the dataset. They are then taken in
    ascending order of the category ids, which is the order that detectron2 and this package train
    with; this is logged.

    Raises:
        WeightsError: the classes do not fit.
    """
    count = len(trained.class_names)
    if trained.names_known:
        classes = Classes(trained.class_names, trained.category_ids, source)
        return in_classes_of(classes, dataset, WeightsError)
    if len(dataset.class_names) != count:
        raise WeightsError(
            f"{source} has {_classes(count)} without names, but {dataset.description} has "
            f"{len(dataset.class_names)}: {listing(dataset.class_names, SHOWN)}"
        )
    logger.warning(
        "%s does not name its %s; the order is that of the category ids of %s",
        *(source, _classes(count), dataset.description),
    )
    return dataset


def _report(
    own: Sequence[str],
    ids: dict[str, int | None],
    wanted: Sequence[str],
    detector: Classes,
    dataset: CocoDataset,
) -> None:
    where, source = dataset.description, detector.source
    pairs = zip(wanted, detector.category_ids, strict=True)
    moved = [name for name, key in pairs if ids.get(name, key) != key]
    if moved:
        logger.info(
            "%s: categories are matched with those of %s by name; the ids of %d of %d differ: %s",
            *(where, source, len(moved), len(own), listing(moved)),
        )
    absent = [name for name in wanted if name not in ids]
    if absent:
        logger.warning(
            "%s: no category for %d of the %s of %s, not evaluated: %s",
            *(where, len(absent), _classes(len(wanted)), source, listing(absent)),
        )
    unused = [name for name in own if name not in wanted]
    if unused:
        logger.warning(
            "%s: %s without annotations, no classes of %s, left out: %s",
            *(where, count_of(len(unused), "category", "categories"), source, listing(unused)),
        )


def _mismatch(
    own: Sequence[str],
    unknown: Sequence[str],
    wanted: Sequence[str],
    detector: Classes,
    dataset: CocoDataset,
) -> str:
    where = dataset.description
    problem = (
        f"has annotations of {count_of(len(unknown), 'category', 'categories')} that "
        f"{detector.source} does not have: "
        f"{listing(unknown, SHOWN)}"
        if unknown
        else f"has no category in common with the classes of {detector.source}"
    )
    lists = "".join(
        f"\n  {len(names)} in {place}: {listing(names, SHOWN)}"
        for place, names in ((where, own), (detector.source, wanted))
    )
    similar = {name.strip().casefold(): name for name in wanted}
    pairs = [
        f"{name!r} and {similar[name.strip().casefold()]!r}"
        for name in own
        if name not in wanted and name.strip().casefold() in similar
    ]
    hint = f"Only case or spaces differ in {listing(pairs)}\n" if pairs else ""
    return (
        f"{where}: {problem}{lists}\n{hint}"
        "Categories are matched by name, whatever their ids: let the names agree, or remove the "
        "annotations of categories that are not to be evaluated"
    )


def _classes(count: int) -> str:
    return count_of(count, "class", "classes")
