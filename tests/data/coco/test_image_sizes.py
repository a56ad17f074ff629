import json

import pytest
from coco_files import HEIGHT, WIDTH, good, write
from PIL import Image

from resnet_backbone.data.coco.annotations import load_annotations
from resnet_backbone.data.coco.image_sizes import (
    count_swapped,
    describe_other_sizes,
    find_upright,
)
from resnet_backbone.data.coco.records import ImageRecord
from resnet_backbone.data.loading.headers import ImageHeader
from resnet_backbone.errors import DataError


def save(folder, sizes, orientation=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(folder / f"{number}.jpg", exif=exif)


def test_swapped_sizes_are_counted_where_most_are(tmp_path):
    save(tmp_path, [(20, 12)] * 3 + [(9, 9)])
    swapped = [ImageRecord(n, f"{n}.jpg", 20, 12) for n in range(3)]
    square = ImageRecord(3, "3.jpg", 9, 9)
    assert count_swapped(tmp_path, [*swapped, square], max_pixels=10**6) == 3
    right = [ImageRecord(n, f"{n}.jpg", 12, 20) for n in range(2)]
    assert count_swapped(tmp_path, [*right, swapped[2]], max_pixels=10**6) == 0
    assert count_swapped(tmp_path, [], max_pixels=10**6) == 0


def test_scales_close_to_one_can_be_told_from_it():
    """Off by a pixel, they were called 1 times the annotated size."""
    header = ImageHeader(150, 201, orientation=1, wide=False)
    pairs = [(ImageRecord(n, f"{n}.jpg", 150, 200), header) for n in range(3)]
    assert describe_other_sizes(pairs).startswith("3 have 1.005 times the annotated width and 1 t")


def test_only_what_exif_turns_and_the_annotations_do_not_is_turned(tmp_path):
    save(tmp_path, [(20, 12)] * 2, orientation=6)
    stored, upright = ImageRecord(7, "0.jpg", 12, 20), ImageRecord(8, "1.jpg", 20, 12)
    gone = ImageRecord(9, "gone.jpg", 12, 20)
    found = find_upright(tmp_path, [stored, upright, gone], max_pixels=10**6)
    assert found == {7: ImageRecord(7, "0.jpg", 20, 12)}


def test_boxes_on_the_upright_picture_fit_with_exif_applied(tmp_path):
    """The size in the file is as stored, 40 x 30; the box lies below the stored picture."""
    content = good()
    for number, image in enumerate(content["images"]):
        image["file_name"] = f"{number}.jpg"
    content["annotations"][0] |= {"bbox": [5, 32, 10, 6], "segmentation": [[5, 32, 15, 32, 15, 38]]}
    file, folder = write(tmp_path, content)
    save(folder, [(WIDTH, HEIGHT)] * 2, orientation=6)
    with pytest.raises(DataError, match="box outside its image"):
        load_annotations(file, folder, with_masks=True)
    annotations = load_annotations(file, folder, with_masks=True, exif="apply")
    assert [(image.width, image.height) for image in annotations.images] == [(HEIGHT, WIDTH)] * 2
    assert annotations.boxes[0].tolist() == [5, 32, 15, 38]
    (note,) = annotations.report.notes
    assert note.startswith("turned by EXIF orientation (data.exif=apply)") and note.endswith(
        "2 images"
    )


def test_swapped_sizes_are_named_rather_than_the_boxes(tmp_path):
    content = good()
    for image in content["images"]:
        image |= {"width": HEIGHT, "height": WIDTH}
    template = content["annotations"][0] | {"segmentation": []}
    content["annotations"] = [template | {"id": n, "bbox": [20, 5, 15, 10]} for n in range(12)]
    with pytest.raises(DataError) as caught:
        load_annotations(*write(tmp_path, content), with_masks=False)
    lines = str(caught.value).splitlines()
    assert lines[1].strip() == (
        "images: width and height swapped: in 2 images looked at, the files have them the other way"
        " round"
    )
    assert "format" not in str(caught.value)
    assert json.loads((tmp_path / "annotations.json").read_text())["images"][0]["width"] == HEIGHT
