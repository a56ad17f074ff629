"""Every defect of an annotation file, by the message that a user reads."""

import json
import os

import pytest
from coco_files import HEIGHT, WIDTH, good, write

from resnet_backbone.data.coco.annotations import load_annotations
from resnet_backbone.errors import DataError


def refusal(tmp_path, content, **options):
    """The message that the content is refused with."""
    with pytest.raises(DataError) as raised:
        load_annotations(*write(tmp_path, content, **options), with_masks=True)
    message = str(raised.value)
    assert "annotations.json" in message or "images" in message
    return message


def with_annotation(**changes):
    content = good()
    content["annotations"][0] |= changes
    return content


def with_image(**changes):
    content = good()
    content["images"][0] |= changes
    return content


def without(part, key):
    content = good()
    del content[part][0][key]
    return content


def test_a_good_file_has_no_defects(tmp_path):
    annotations = load_annotations(*write(tmp_path, good()), with_masks=True)
    assert annotations.report.dropped == [] and annotations.report.lines() == []
    assert annotations.category_ids == (3, 7)
    assert annotations.class_names == ("three", "seven")
    assert annotations.classes.tolist() == [1, 0]


RLE = {"size": [HEIGHT, WIDTH], "counts": [200, 10, HEIGHT * WIDTH - 210]}

BAD_ANNOTATIONS = {
    "unknown image": ({"image_id": 99}, "image_id 99 is not in images"),
    "image id of another type": ({"image_id": 1.5}, "image_id 1.5 is not in images"),
    "unhashable image id": ({"image_id": [1]}, "image_id [1] is not in images"),
    "unknown category": ({"category_id": 4}, "category_id 4 is not in categories"),
    "negative width": ({"bbox": [10, 10, -5, 20]}, "negative box"),
    "negative height": ({"bbox": [10, 10, 5, -20]}, "negative box"),
    "outside, right": ({"bbox": [WIDTH + 2, 5, 5, 5]}, "box outside its image"),
    "outside, touching": ({"bbox": [WIDTH, 5, 5, 5]}, "box outside its image"),
    "outside, above": ({"bbox": [5, -20, 5, 5]}, "box outside its image"),
    "huge width": ({"bbox": [5, 5, 1e8, 5]}, "huge box"),
    "NaN": ({"bbox": [float("nan"), 5, 5, 5]}, "got [nan, 5, 5, 5]"),
    "infinite": ({"bbox": [5, 5, float("inf"), 5]}, "got [5, 5, inf, 5]"),
    "an integer beyond floats": ({"bbox": [5, 5, 10**400, 5]}, "bad box"),
    "text": ({"bbox": ["5", 5, 5, 5]}, "expected four finite numbers"),
    "a truth value": ({"bbox": [True, 5, 5, 5]}, "expected four finite numbers"),
    "three numbers": ({"bbox": [5, 5, 5]}, "expected four finite numbers"),
    "no list": ({"bbox": 5}, "expected four finite numbers"),
    "no box and no outline": ({"bbox": None, "segmentation": []}, "expected four finite numbers"),
    "crowd": ({"iscrowd": 2}, "got 2, expected 0 or 1"),
    "area": ({"area": float("nan")}, "bad area"),
    "NaN in a polygon": ({"segmentation": [[5, 5, 9, float("nan"), 9, 9]]}, "NaN"),
    "infinity in a polygon": ({"segmentation": [[5, 5, 9, float("inf"), 9, 9]]}, "infinity"),
    "huge polygon": ({"segmentation": [[5, 5, 1e9, 5, 9, 9]]}, "beyond 1e9"),
    "far polygon": ({"segmentation": [[5, 5, 500, 5, 9, 9]]}, "extends from 5 to 500"),
    "odd polygon": ({"segmentation": [[5, 5, 9, 5, 9, 9, 7]]}, "7 numbers, expected an even"),
    "flat polygon": ({"segmentation": [5, 5, 9, 5, 9, 9]}, "expected a polygon, a list"),
    "text polygon": ({"segmentation": [["5", 5, 9, 5, 9, 9]]}, "expected a polygon, a list"),
    "segmentation text": ({"segmentation": "x"}, "expected polygons or an RLE"),
    "RLE size": ({"segmentation": RLE | {"size": [0, 640]}}, "RLE size is [0, 640]"),
    "RLE sum": ({"segmentation": RLE | {"counts": [5]}}, "RLE runs add up to 5, expected 1200"),
    "RLE sign": ({"segmentation": RLE | {"counts": [-5, 1205]}}, "negative run"),
    "RLE float": ({"segmentation": RLE | {"counts": [1200.0]}}, "must be text or integers"),
    "RLE text": ({"segmentation": RLE | {"counts": "\n"}}, "RLE text contains"),
    "RLE unfinished text": ({"segmentation": RLE | {"counts": "PY"}}, "ends within a number"),
    "RLE huge text": ({"segmentation": RLE | {"counts": "o" * 99}}, "too large for any image"),
    "RLE without counts": ({"segmentation": {"size": [HEIGHT, WIDTH]}}, "must be text or integ"),
}


@pytest.mark.parametrize("name", BAD_ANNOTATIONS)
def test_a_bad_annotation_is_named_with_its_value(tmp_path, name):
    changes, expected = BAD_ANNOTATIONS[name]
    message = refusal(tmp_path, with_annotation(**changes))
    assert expected in message
    assert "annotation 11 of image" in message
    assert "1 defect (" in message


@pytest.mark.parametrize("name", BAD_ANNOTATIONS)
def test_a_bad_annotation_can_be_skipped(tmp_path, name):
    changes, _ = BAD_ANNOTATIONS[name]
    files = write(tmp_path, with_annotation(**changes))
    annotations = load_annotations(*files, with_masks=True, skip_bad_samples=True)
    assert len(annotations.boxes) == 1
    assert [record["id"] for record in annotations.to_coco([0])["images"]] == [1]
    assert annotations.to_coco([0])["annotations"] == []  # what the evaluation is to see
    assert "1 x " in annotations.report.lines()[0]


def test_numbers_that_only_overflow_when_parsed(tmp_path):
    text = json.dumps(with_annotation(bbox=[5, 5, 123456789, 5]))
    assert "got [5, 5, inf, 5]" in refusal(tmp_path, text.replace("123456789", "1e400"))


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_a_missing_key_of_an_annotation(tmp_path, key):
    message = refusal(tmp_path, without("annotations", key))
    assert f"annotation 11 of image {'None' if key == 'image_id' else 1}" in message
    assert f"missing key: there is no key '{key}'" in message


@pytest.mark.parametrize("key", ["file_name", "height", "width"])
def test_a_missing_key_of_an_image(tmp_path, key):
    message = refusal(tmp_path, without("images", key))
    assert "image 1" in message and f"missing key: there is no key '{key}'" in message


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("bad", [None, -1, 1.5, True, 2**64, 1e30, float("nan"), [1]])
def test_ids_are_integers(tmp_path, part, bad):
    content = good()
    content[part][0]["id"] = bad
    assert f"{part}[0]" in refusal(tmp_path, content)


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_records_are_objects(tmp_path, part):
    content = good()
    content[part][0] = 5
    assert f"{part}[0]" in refusal(tmp_path, content)


def test_duplicate_ids_name_both(tmp_path):
    content = good()
    content["images"][1]["id"] = 1
    content["annotations"][1]["id"] = 11
    content["categories"][1]["id"] = 7
    message = refusal(tmp_path, content)
    assert "image 1 (b.png): duplicate image id: it is also the id of a.png" in message
    assert (
        "annotation 11 of image 2: duplicate annotation id: an annotation of image 1 has" in message
    )
    assert "duplicate category id: 7 is 'seven' and 'three'" in message


BAD_NAMES = {
    "/etc/passwd": "file name is an absolute path",
    "C:\\a.png": "file name is an absolute path",
    "../a.png": "file name leaves the image folder",
    "x/../../a.png": "file name leaves the image folder",
    "C:a.png": "file name leaves the image folder",
    "a\0.png": "bad file name",
    "": "bad file name",
    5: "bad file name",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_file_name_must_stay_in_the_image_folder(tmp_path, name):
    message = refusal(tmp_path, with_image(file_name=name))
    assert BAD_NAMES[name] in message and repr(name) in message


def test_links_out_of_the_image_folder_are_not_followed(tmp_path):
    content = with_image(file_name="link.png")
    _, folder = write(tmp_path, content)
    (tmp_path / "secret.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    assert "link.png is a link to outside the folder" in refusal(tmp_path, content)


def test_links_inside_the_folder_and_of_the_folder_are_fine(tmp_path):
    content = with_image(file_name="link.png")
    file, folder = write(tmp_path, content)
    (folder / "link.png").symlink_to("a.png")
    (tmp_path / "alias").symlink_to(folder)
    assert len(load_annotations(file, tmp_path / "alias", with_masks=True).images) == 2


def test_only_regular_files_are_images(tmp_path):
    content = with_image(file_name="pipe.png")
    _, folder = write(tmp_path, content)
    os.mkfifo(folder / "pipe.png")
    assert "pipe.png is not a regular file" in refusal(tmp_path, content)


def test_all_missing_images_are_counted_and_the_first_listed(tmp_path):
    content = good()
    content["images"] += [
        {"id": n, "file_name": f"no/{n}.png", "width": 9, "height": 9} for n in range(100, 150)
    ]
    message = refusal(tmp_path, content)
    assert "50 defects (50 x missing image file)" in message
    assert "no/100.png does not exist" in message
    assert "... and 30 more" in message and len(message.splitlines()) == 22


@pytest.mark.parametrize("size", [0, -3, 2.5, "40", None, 2**40])
def test_image_sizes(tmp_path, size):
    assert "bad image size" in refusal(tmp_path, with_image(width=size))


def test_defects_of_all_kinds_come_in_one_message(tmp_path):
    content = good()
    content["images"][0]["file_name"] = "gone.png"
    content["annotations"][0]["bbox"] = [1, 1, -1, 1]  # of the image that is gone
    content["annotations"][1]["segmentation"] = [[1, 2, 3]]
    content["categories"].append({"id": 7, "name": "again"})
    message = refusal(tmp_path, content)
    for kind in ("missing image file", "negative box", "bad segmentation", "duplicate category"):
        assert kind in message
    assert "4 defects" in message


def test_boxes_in_the_wrong_format_are_recognised(tmp_path):
    content = good()
    template = content["annotations"][0]
    content["annotations"] = [
        template | {"id": number, "bbox": [20 + number, 10, 30 + number / 2, 25]}
        for number in range(9)
    ]
    message = refusal(tmp_path, content)
    assert "9 of 9 boxes; are they in the format (x0, y0, x1, y1)?" in message.splitlines()[1]


HARMLESS = {
    "no width": ({"bbox": [5, 5, 0, 10]}, "box without area", 1),
    "a little outside": ({"bbox": [WIDTH + 0.2, 5, 0.5, 10]}, "box without area", 1),
    "short polygon": ({"segmentation": [[5, 5, 9, 9], [5, 5, 9, 5, 9, 9]]}, "short polygon", 2),
    "only a short polygon": ({"segmentation": [[5, 5, 9, 9]]}, "no outline", 1),
    "an empty polygon": ({"segmentation": [[]]}, "no outline", 1),
    "past the border": ({"bbox": [-3, 5, 18, 10]}, "box clipped", 2),
    "no outline": ({"segmentation": []}, "no outline", 1),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_official_coco_holds_is_counted_and_listed_but_never_fatal(tmp_path, name):
    changes, kind, left = HARMLESS[name]
    files = write(tmp_path, with_annotation(**changes))
    annotations = load_annotations(*files, with_masks=True)
    report = annotations.report
    assert annotations.trainable.sum() == left
    assert kind in report.lines()[0]
    assert any(d.kind == kind and "annotation 11" in d.where for d in report.dropped)
    seen = annotations.to_coco([0, 1])["annotations"]
    assert len(seen) == 2  # COCO's evaluation counts them, too
    assert seen[0]["bbox"] == changes.get("bbox", good()["annotations"][0]["bbox"])


BAD_OUTLINES = {
    name: case for name, case in BAD_ANNOTATIONS.items() if case[0].keys() == {"segmentation"}
}


@pytest.mark.parametrize("name", BAD_OUTLINES)
@pytest.mark.parametrize("box", [[5, 5, 0, 10], [WIDTH + 0.2, 5, 0.5, 10]])
def test_an_outline_behind_a_box_without_area_is_checked_all_the_same(tmp_path, name, box):
    """COCO's evaluation counts such an instance, so that its outline reaches C code."""
    changes, expected = BAD_ANNOTATIONS[name]
    content = with_annotation(**(changes | {"bbox": box}))
    assert expected in refusal(tmp_path, content)
    files = write(tmp_path, content)
    for with_masks in (True, False):
        annotations = load_annotations(*files, with_masks=with_masks, skip_bad_samples=True)
        assert annotations.to_coco([0])["annotations"] == []


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("turn", [float, str, lambda number: f"{number:05d}"])
def test_floats_and_decimal_text_are_ids(tmp_path, part, turn):
    """As pandas and some exporters write them, with what refers to them or without."""
    content = good()
    for record in content[part]:
        record["id"] = turn(record["id"])
    annotations = load_annotations(*write(tmp_path, content), with_masks=True)
    assert [image.id for image in annotations.images] == [1, 2]
    assert annotations.category_ids == (3, 7) and annotations.trainable.sum() == 2
    taken = f"ids written as text or floats were read as integers: 2 in {part}"
    # Text tells annotations apart as well as numbers do, and nothing else reads their ids.
    expected = [] if part == "annotations" and turn is not float else [taken]
    assert annotations.report.notes == expected


def test_references_may_be_floats_too(tmp_path):
    content = with_annotation(image_id=1.0, category_id="7", iscrowd=0.0)
    content["images"][0] |= {"height": float(HEIGHT), "width": float(WIDTH)}
    annotations = load_annotations(*write(tmp_path, content), with_masks=True)
    assert annotations.trainable.tolist() == [True, True]
    assert annotations.images[0].height == HEIGHT and type(annotations.images[0].height) is int
    assert annotations.report.notes == [
        "ids written as text or floats were read as integers: 1 in image_id, 1 in category_id"
    ]


@pytest.mark.parametrize("nested", [False, True])
def test_images_of_lvis_are_found_by_their_url(tmp_path, nested):
    content = good()
    for image, split in zip(content["images"], ("train2017", "val2017"), strict=True):
        image["coco_url"] = f"http://images.example.org/{split}/{image.pop('file_name')}"
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    file, folder = write(tmp_path, content)
    if nested:
        for image, split in (("a.png", "train2017"), ("b.png", "val2017")):
            (folder / split).mkdir()
            (folder / image).rename(folder / split / image)
    found = load_annotations(file, folder, with_masks=True)
    names = [image.file_name for image in found.images]
    assert names == (["train2017/a.png", "val2017/b.png"] if nested else ["a.png", "b.png"])
    assert "2 images without file_name; it was taken from coco_url" in found.report.notes[0]


def test_an_image_of_a_url_that_is_not_there(tmp_path):
    content = good()
    name = content["images"][0].pop("file_name")
    content["images"][0]["coco_url"] = f"http://images.example.org/train2017/x{name}"
    message = refusal(tmp_path, content)
    assert "xa.png): missing image file" in message and "xa.png does not exist" in message


def test_ids_that_are_other_text_are_refused_once(tmp_path):
    content = good()
    for record in content["images"]:
        record["id"] = f"img_{record['id']}"
    for record in content["annotations"]:
        record["image_id"] = f"img_{record['image_id']}"
    content["annotations"] = [content["annotations"][0] | {"id": number} for number in range(40)]
    lines = refusal(tmp_path, content).splitlines()
    assert "2 defects (2 x ids that are text)" in lines[0] and len(lines) == 3
    assert "images: ids that are text: 2 ids, such as 'img_1'; expected integers" in lines[1]
    assert "image_id: ids that are text: 40 ids, such as 'img_1'" in lines[2]


def test_ids_of_categories_that_are_text_are_refused_once(tmp_path):
    content = good()
    for record in (*content["categories"], *content["annotations"]):
        key = "category_id" if "category_id" in record else "id"
        record[key] = f"c{record[key]}"
    lines = refusal(tmp_path, content).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["categories", "category_id"]


@pytest.mark.parametrize("box", [None, [], "absent"])
def test_a_box_is_that_of_the_outline_where_there_is_no_other(tmp_path, box):
    content = with_annotation(segmentation=[[5, 6, 15, 6, 15, 20], [2, 8, 4, 8, 4, 9]])
    content["annotations"][1]["segmentation"] = {
        "size": [HEIGHT, WIDTH],
        "counts": [2 * HEIGHT + 3, 4, HEIGHT * WIDTH - 2 * HEIGHT - 7],
    }
    for annotation in content["annotations"]:
        annotation["bbox"] = box
        if box == "absent":
            del annotation["bbox"]
    annotations = load_annotations(*write(tmp_path, content), with_masks=False)
    assert annotations.boxes.tolist() == [[2, 6, 15, 20], [2, 3, 3, 7]]
    assert annotations.to_coco([0])["annotations"][0]["bbox"] == [2, 6, 13, 14]
    (note,) = annotations.report.notes
    assert note == "2 annotations without a box; that of the outline was taken"


def test_without_box_and_outline_an_annotation_is_refused(tmp_path):
    content = with_annotation(segmentation=[])
    del content["annotations"][0]["bbox"]
    assert "no key 'bbox', and no outline to take it from" in refusal(tmp_path, content)


def test_long_values_are_shown_in_part(tmp_path):
    content = with_image(file_name="x" * 10_000)
    content["annotations"][0] |= {"image_id": "y" * 10_000, "iscrowd": "z" * 10_000}
    assert max(map(len, refusal(tmp_path, content).splitlines())) < 11_000


@pytest.mark.parametrize("singles", [0, 1, 19, 20])
def test_crowds_are_noted_where_there_are_many(tmp_path, singles):
    content = good()
    crowd, single = content["annotations"][0] | {"iscrowd": 1}, content["annotations"][1]
    content["annotations"] = [crowd] + [
        single | {"id": 100 + n, "bbox": [5, 5, 10, 5 + n / 4]} for n in range(singles)
    ]
    notes = load_annotations(*write(tmp_path, content), with_masks=False).report.notes
    found = [note for note in notes if "have iscrowd 1" in note]
    assert len(found) == (singles < 19)
    assert not found or found[0].startswith(f"1 of {singles + 1} annotation")


def test_boxes_are_clipped_to_the_image(tmp_path):
    files = write(tmp_path, with_annotation(bbox=[-0.4, 5, WIDTH + 0.8, 40]))
    box = load_annotations(*files, with_masks=True).boxes[0]
    assert box.tolist() == [0, 5, WIDTH, HEIGHT]


def test_outlines_are_optional_without_masks(tmp_path):
    files = write(tmp_path, without("annotations", "segmentation"))
    assert load_annotations(*files, with_masks=False).trainable.sum() == 2
    assert load_annotations(*files, with_masks=True).trainable.sum() == 1


@pytest.mark.parametrize("part", ["images", "categories"])
def test_an_empty_dataset(tmp_path, part):
    content = good() | {"annotations": [], part: []}
    assert f"no {part}" in refusal(tmp_path, content)


def test_skipping_everything_is_an_error_too(tmp_path):
    files = write(tmp_path, good(), images=())
    with pytest.raises(DataError, match="no usable image; left out: 2 x missing image file"):
        load_annotations(*files, with_masks=True, skip_bad_samples=True)


def test_skipped_images_take_their_annotations_along(tmp_path):
    files = write(tmp_path, good(), images=("b.png",))
    annotations = load_annotations(*files, with_masks=True, skip_bad_samples=True)
    assert [image.id for image in annotations.images] == [2]
    assert len(annotations.boxes) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not valid JSON, or truncated"),
        (json.dumps(good())[:-20], "not valid JSON, or truncated"),
        ("\x89PNG\r\n", "not valid JSON, or truncated"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "missing: images, annotations, categories"),
        ('{"images": [], "annotations": {}}', "missing: annotations, categories"),
        ('{"x": ' + "9" * 5000 + "}", "not valid JSON, or truncated"),
    ],
)
def test_files_that_are_not_annotations(tmp_path, text, expected):
    assert expected in refusal(tmp_path, text)


def test_missing_files(tmp_path):
    file, folder = write(tmp_path, good())
    with pytest.raises(DataError, match="no such annotation file"):
        load_annotations(tmp_path / "no.json", folder, with_masks=True)
    with pytest.raises(DataError, match="no such image folder"):
        load_annotations(file, tmp_path / "no", with_masks=True)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        load_annotations(folder, folder, with_masks=True)
