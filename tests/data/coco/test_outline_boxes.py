"""Boxes and outlines that contradict each other, in every way that other tools cause it."""

import numpy as np
import pytest
from coco_files import good, write
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from resnet_backbone.data.coco.annotations import load_annotations
from resnet_backbone.data.coco.outline_boxes import OutlineBoxes
from resnet_backbone.data.coco.records import Instance
from resnet_backbone.errors import DataError

WIDTH, HEIGHT = 331, 211


def corners(count, seed=0):
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.1, 0.45, (count, 2)) * (WIDTH, HEIGHT)
    start = rng.uniform(0, 1, (count, 2)) * ((WIDTH, HEIGHT) - size)
    return np.concatenate((start, start + size), axis=1)


def polygon(x0, y0, x1, y1):
    """A diamond, whose bounding box this is."""
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return np.array([[x, y0], [x1, y], [x, y1], [x0, y]])


def coco(x0, y0, x1, y1):
    return x0, y0, x1 - x0, y1 - y0


def instance(raw_box, outline):
    x, y, width, height = raw_box
    encoded = isinstance(outline, dict)
    return Instance(
        box=(x, y, x + width, y + height),
        raw_box=tuple(raw_box),
        area=1.0,
        category_id=1,
        crowd=False,
        trainable=True,
        polygons=[] if encoded else [outline],
        rle=outline if encoded else None,
    )


def compared(boxes=coco, outlines=lambda p: p, count=40):
    rows = corners(count).tolist()
    instances = [instance(boxes(*row), outlines(polygon(*row))) for row in rows]
    return OutlineBoxes(instances, [(WIDTH, HEIGHT)] * count)


BOXES = {
    "(x0, y0, x1, y1)": lambda x0, y0, x1, y1: (x0, y0, x1, y1),
    "(x0, x1, y0, y1)": lambda x0, y0, x1, y1: (x0, x1, y0, y1),
    "(y0, x0, y1, x1)": lambda x0, y0, x1, y1: (y0, x0, y1, x1),
    "(y, x, height, width)": lambda x0, y0, x1, y1: (y0, x0, y1 - y0, x1 - x0),
    "(centre x, centre y, width, height)": lambda x0, y0, x1, y1: (
        *((x0 + x1) / 2, (y0 + y1) / 2),
        *(x1 - x0, y1 - y0),
    ),
    "(centre y, centre x, height, width)": lambda x0, y0, x1, y1: (
        *((y0 + y1) / 2, (x0 + x1) / 2),
        *(y1 - y0, x1 - x0),
    ),
}
SIDES = np.array([WIDTH, HEIGHT])
OUTLINES = {
    "fractions of the image's width and height": lambda p: p / SIDES,
    "percentages of the image's width and height": lambda p: 100 * p / SIDES,
    "mirrored from left to right": lambda p: np.abs(p - (WIDTH, 0)),
    "upside down": lambda p: np.abs(p - (0, HEIGHT)),
    "0.5 times x and 0.5 times y": lambda p: p / 2,
    "1.2 times x and 1.5 times y": lambda p: p * (1.2, 1.5),
    "shifted by 12 in x and -7 in y": lambda p: p + (12, -7),
}


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("count", [3, 40])
def test_outlines_tell_the_format_of_boxes(name, count):
    found = compared(boxes=BOXES[name], count=count)
    defect = found.other_format()
    assert f"{name}" in defect.detail and f"{count} of them fit" in defect.detail
    assert not found.confirm


@pytest.mark.parametrize("name", OUTLINES)
def test_boxes_tell_the_coordinates_of_outlines(name):
    found = compared(outlines=OUTLINES[name])
    assert found.other_format() is None
    assert f"40 of 40 outlines fit their boxes as {name}" in found.other_outlines().detail


def test_pairs_in_the_other_order_may_be_those_of_the_box():
    detail = compared(outlines=lambda p: p[:, ::-1]).other_format().detail
    assert "(y, x, height, width), or the outlines in pairs (y, x)?" in detail


def test_outlines_of_other_objects_are_named_as_such():
    mixed = np.roll(corners(40), 1, axis=0).tolist()
    rows = zip(corners(40).tolist(), mixed, strict=True)
    instances = [instance(coco(*row), polygon(*other)) for row, other in rows]
    found = OutlineBoxes(instances, [(WIDTH, HEIGHT)] * 40)
    assert "are they those of other objects?" in found.other_outlines().detail


@pytest.mark.parametrize("seed", range(5))
def test_outlines_in_their_boxes_are_not_suspected(seed):
    """COCO rounds to two decimals, and its crowds' boxes are smaller by a pixel."""
    rng = np.random.default_rng(seed)
    rows = corners(40, seed)
    careless = rows + rng.uniform(-1.5, 1.5, rows.shape)
    instances = [
        instance(coco(*a), polygon(*b))
        for a, b in zip(rows.tolist(), careless.tolist(), strict=True)
    ]
    found = OutlineBoxes(instances, [(WIDTH, HEIGHT)] * 40)
    assert not found.outside.any() and found.note() is None and found.confirm
    assert found.other_format() is found.other_outlines() is None


@pytest.mark.parametrize("hidden", [4, 10])
def test_hidden_parts_are_no_contradiction(hidden):
    """The box may be that of the whole object, and the outline that of its visible part."""

    def fragment(points):
        return points.mean(0) + (points - points.mean(0)) * 0.3

    rows = corners(10).tolist()
    outlines = [polygon(*row) for row in rows]
    outlines[:hidden] = map(fragment, outlines[:hidden])
    found = OutlineBoxes(
        [instance(coco(*row), each) for row, each in zip(rows, outlines, strict=True)],
        [(WIDTH, HEIGHT)] * 10,
    )
    assert not found.outside.any()
    assert found.other_format() is found.other_outlines() is None
    note = f"{hidden} of 10 outlines fill less than half of their boxes; both are kept"
    assert found.note() == note


@given(x=st.floats(0, 100), y=st.floats(0, 100), side=st.floats(0.1, 60), shift=st.floats(-80, 80))
def test_an_outline_is_outside_where_half_of_it_is(x, y, side, shift):
    """Against the overlap of two squares, computed by hand, with two pixels to spare."""
    outline = polygon(x + shift, y, x + shift + side, y + side)
    found = OutlineBoxes([instance((x, y, side, side), outline)], [(300, 200)])
    # Both are clipped to the image, on the left side here.
    start, end = max(0, x + shift), max(0, x + shift + side)
    length = max(end - start, 1)
    common = max(0, min(start + length, x + side + 2) - max(start, x - 2)) / length
    if abs(common - 0.5) > 1e-9:
        assert found.outside.tolist() == [common < 0.5]


def test_rles_are_compared_as_polygons_are():
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[100:150, 200:260] = 1
    rle = coco_mask.encode(mask)
    triangle = np.array([[200.0, 100], [260, 150], [200, 150]])
    boxes = [(200, 100, 60, 50), (20, 10, 60, 50)]
    instances = [instance(box, each) for box in boxes for each in (rle, triangle)]
    found = OutlineBoxes(instances, [(WIDTH, HEIGHT)] * 4)
    assert found.outside.tolist() == [False, False, True, True]


def test_nothing_to_compare():
    found = OutlineBoxes([], [])
    assert found.other_format() is found.other_outlines() is found.note() is None
    assert not found.confirm and found.outside.shape == (0,)


ELSEWHERE = [25, 15, 35, 15, 35, 25, 25, 25]


def with_outline(tmp_path, outline):
    content = good()
    content["annotations"][0]["segmentation"] = outline
    return write(tmp_path, content)


def elsewhere(encoded):
    mask = np.zeros((30, 40), dtype=np.uint8, order="F")
    mask[15:25, 25:35] = 1
    rle = coco_mask.encode(mask)
    return {**rle, "counts": rle["counts"].decode()} if encoded else [ELSEWHERE]


@pytest.mark.parametrize("encoded", [False, True])
def test_one_outline_outside_its_box_is_refused_or_skipped(tmp_path, encoded):
    files = with_outline(tmp_path, elsewhere(encoded))
    with pytest.raises(DataError) as caught:
        load_annotations(*files, with_masks=True)
    assert str(caught.value).endswith(
        "annotation 11 of image 1: outline outside its box: the outline is in "
        "[25.0, 15.0, 10.0, 10.0], and the box is [5, 5, 10, 10]"
    )
    found = load_annotations(*files, with_masks=True, skip_bad_samples=True)
    assert "1 x outline outside its box" in found.report.lines()[0] and len(found.boxes) == 1
    # Boxes alone need no outline.
    assert len(load_annotations(*files, with_masks=False).boxes) == 2


@pytest.mark.parametrize("skip", [False, True])
def test_outlines_as_fractions_are_refused_where_they_are_needed(tmp_path, skip):
    content = good()
    template = content["annotations"][0]
    outline = (np.array(template["segmentation"]).reshape(-1, 2) / (40, 30)).ravel().tolist()
    content["annotations"] = [
        template | {"id": n, "image_id": image, "category_id": category, "segmentation": [outline]}
        for n, (image, category) in enumerate([(1, 7), (1, 3), (2, 3)])
    ]
    files = write(tmp_path, content)
    with pytest.raises(DataError, match="3 of 3 outlines .* as fractions .* model.mask=false"):
        load_annotations(*files, with_masks=True, skip_bad_samples=skip)
    (line,) = load_annotations(*files, with_masks=False).report.lines()
    assert "as fractions" in line and line.endswith("Only the boxes are used (model.mask=false)")


def test_outlines_outvote_the_border(tmp_path):
    """Boxes of (y, x, height, width) in square images never cross the border more often."""
    content = good()
    template = content["annotations"][0]
    content["annotations"] = [
        template
        | {"id": n, "bbox": [2 + n, 12, 9, 5], "segmentation": [rectangle(12, 2 + n, 5, 9)]}
        for n in range(4)
    ]
    with pytest.raises(DataError, match="4 of 4 boxes; are they in the format .y, x, height"):
        load_annotations(*write(tmp_path, content), with_masks=False)


def rectangle(x, y, width, height):
    return [x, y, x + width, y, x + width, y + height, x, y + height]


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_real_coco_agrees_with_itself(coco_mini, split):
    """Crowds included."""
    file = coco_mini / "annotations" / f"instances_{split}.json"
    annotations = load_annotations(file, coco_mini / split, with_masks=True)
    assert annotations.crowd.any() and annotations.report.lines() == []
