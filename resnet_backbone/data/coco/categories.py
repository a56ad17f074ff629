"""The categories of a COCO-format file, and those that several of them share a name with."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from resnet_backbone.data.coco.defects import DefectReport
from resnet_backbone.data.coco.identifiers import Identifiers, as_id
from resnet_backbone.data.coco.records import Record, get


def read_categories(
    records: Iterable[Record], ids: Identifiers, report: DefectReport
) -> dict[int, str]:
    """Returns the name of each category id; accents are composed (NFC), to be compared by.

    Args:
        records: The list `categories`.
        ids: Reads the ids, and counts those that are text.
        report: Gets the defects.
    """
    names: dict[int, str] = {}
    for number, record in enumerate(records):
        where = f"categories[{number}]"
        raw, name = get(record, "id"), get(record, "name")
        if type(name) is int:  # of digits, and where pandas wrote the file
            name = str(name)
        key = ids.read(raw, "categories")
        if isinstance(raw, str) and key is None:
            continue  # the caller reports all of these at once
        if key is None or not _is_writable(name):
            detail = f"got {record!r:.80}, expected an integer id of at least 0 and a name"
            report.refuse("bad category", where, detail)
        elif key in names:
            report.refuse("duplicate category id", where, f"{key} is {names[key]!r} and {name!r}")
        else:
            names[key] = unicodedata.normalize("NFC", name)
    if not names and not ids.text["categories"]:
        report.refuse("no categories", "categories", "the list contains no valid category")
    return names


def settle_names(
    names: Mapping[int, str], annotations: Iterable[Record], report: DefectReport
) -> dict[int, str]:
    """Returns the categories with a name of its own for each.

    Roboflow adds a category 0 that no annotation has, often with the name of another one: of
    several categories of one name, those without annotations are left out. If several have some,
    they are told apart by their ids.
    """
    count = Counter(names.values())
    if len(count) == len(names):
        return dict(names)
    used = {as_id(get(record, "category_id")) for record in annotations}
    settled = dict(names)
    for shared in (name for name, times in count.items() if times > 1):
        twins = [key for key in names if names[key] == shared]
        # Where none is used, the last one stays: Roboflow's superfluous one is the first.
        kept = [key for key in twins if key in used] or twins[-1:]
        for key in (key for key in twins if key not in kept):
            del settled[key]
            detail = f"no annotation has it, and category {kept[0]} has the same name, {shared!r}"
            report.drop("unused category", f"category {key}", detail)
        if len(kept) > 1:
            settled |= {key: f"{shared} (id {key})" for key in kept}
            told = ", ".join(settled[key] for key in kept)
            report.notes.append(f"categories of the same name are told apart by their ids: {told}")
    return settled


def _is_writable(name: object) -> bool:
    """Returns whether this is text without halves of surrogate pairs, which no file can hold."""
    return isinstance(name, str) and not any("\ud800" <= letter <= "\udfff" for letter in name)
