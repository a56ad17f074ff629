"""Images and annotations that a COCO-format file has more than once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from resnet_backbone.data.coco.defects import DefectReport
from resnet_backbone.data.coco.records import Box, ImageRecord, Instance
from resnet_backbone.utils.text import count_of

_Objects = Counter[tuple[int, Box, bool]]  # category, box, crowd


def check_repeated(
    instances: Sequence[tuple[int, Instance]],
    images: Mapping[int, ImageRecord],
    report: DefectReport,
) -> None:
    """Refuses entries of one image file that have different annotations; notes all other copies.

    Tables with a line for each object are often converted to an entry for each: training on one
    then takes the objects of the others for background.

    Args:
        instances: Image id and instance of each annotation.
        images: The images by id.
        report: Gets the defects and notes.
    """
    objects: dict[int, _Objects] = {key: Counter() for key in images}
    for owner, each in instances:
        objects[owner][each.category_id, each.raw_box, each.crowd] += 1
    again = sum(count.total() - len(count) for count in objects.values())
    if again:
        report.notes.append(
            f"{again} of {count_of(len(instances), 'annotation')} repeat class and box of another "
            "one of their image; all are kept, and at most one of them counts as found: remove the "
            "others if they were not meant"
        )
    _check_entries(images, objects, report)


def _check_entries(
    images: Mapping[int, ImageRecord], objects: Mapping[int, _Objects], report: DefectReport
) -> None:
    entries: dict[str, list[int]] = {}
    for key, image in images.items():
        entries.setdefault(image.file_name, []).append(key)
    alike = []
    for name, keys in entries.items():
        if len(keys) == 1:
            continue
        if all(objects[key] == objects[keys[0]] for key in keys):
            alike.append(name)
            continue
        shown = ", ".join(map(str, keys[:5])) + (", ..." if len(keys) > 5 else "")
        numbers = [objects[key].total() for key in keys]
        detail = (
            f"{len(keys)} entries, with {min(numbers)} to {max(numbers)} annotations, which differ;"
            " the objects of one would be background in the others: give the file one entry, and "
            "all its annotations that image_id"
        )
        report.refuse("image listed more than once", f"images {shown} ({name:.200})", detail)
    if alike:
        report.notes.append(
            f"{count_of(len(alike), 'image file')} listed more than once, with the same "
            f"annotations, such as {alike[0]}; it counts as often as it is listed"
        )
