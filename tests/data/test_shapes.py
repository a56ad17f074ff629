import json
import logging
import uuid

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from resnet_backbone.data import shapes
from resnet_backbone.data.coco.annotations import load_annotations
from resnet_backbone.data.shapes import Paths, ShapesSettings, draw_dataset, draw_image
from resnet_backbone.errors import DataError
from resnet_backbone.utils.folder_lock import locked

SPLITS = {"train": Paths("train", "annotations/train.json"), "val": Paths("val", "val.json")}
SETTINGS = ShapesSettings(
    train_images=40, val_images=6, image_size=96, max_shapes=5, empty_fraction=0.2, seed=3
)


def changed(**changes):
    return ShapesSettings(**{**SETTINGS.__dict__, **changes})


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "shapes"
    draw_dataset(root, SPLITS, SETTINGS)
    return root


@pytest.fixture
def root(drawn, tmp_path):
    """A copy to change."""
    draw_dataset(tmp_path / "shapes", SPLITS, SETTINGS)
    return tmp_path / "shapes"


def test_it_is_a_valid_dataset_of_the_promised_kind(drawn):
    file = drawn / "annotations" / "train.json"
    packed = load_annotations(file, drawn / "train", with_masks=True)
    assert packed.report.dropped == []
    assert packed.class_names == ("circle", "square", "triangle", "star")
    assert packed.category_ids == (1, 3, 4, 7)
    assert len(packed.images) == 40
    counts = np.diff(packed.first)
    assert counts.max() <= 5 and 1 <= (counts == 0).sum() <= 20
    # Both ways to outline: polygons for what is whole, RLE for what is partly covered.
    assert 0 < len(packed.rles) < len(packed.boxes)
    assert set(packed.classes) == {0, 1, 2, 3}


def test_boxes_and_areas_are_those_of_the_masks(drawn):
    content = json.loads((drawn / "annotations" / "train.json").read_text())
    taken = {image["id"]: np.zeros((96, 96), dtype=int) for image in content["images"]}
    for annotation in content["annotations"]:
        outline = annotation["segmentation"]
        if isinstance(outline, list):
            (outline,) = coco_mask.frPyObjects(outline, 96, 96)
        mask = coco_mask.decode(outline)
        taken[annotation["image_id"]] += mask
        assert mask.sum() == annotation["area"]
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        x, y, width, height = annotation["bbox"]
        assert (x, x + width - 1) == (columns[0], columns[-1])
        assert (y, y + height - 1) == (rows[0], rows[-1])
    # Only what shows is annotated, so no pixel is twice.
    assert max(count.max() for count in taken.values()) == 1


def test_drawing_is_a_function_of_the_settings(drawn, root):
    assert contents(root) == contents(drawn)
    image, instances = draw_image(np.random.default_rng(5), SETTINGS)
    again, same = draw_image(np.random.default_rng(5), SETTINGS)
    assert np.array_equal(np.asarray(image), np.asarray(again)) and instances == same


def test_what_is_there_is_left_alone(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    (root / "notes.txt").write_text("mine")
    draw_dataset(root, SPLITS, SETTINGS)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if path != root)


def test_other_settings_draw_anew(root):
    before = contents(root)
    draw_dataset(root, SPLITS, changed(seed=4, train_images=10))
    after = contents(root)
    assert len(after) == len(before) - 30
    assert after["train/000001.png"] != before["train/000001.png"]
    assert [path.name for path in root.parent.iterdir()] == ["shapes"]


def test_a_lost_image_is_drawn_again(root):
    before = contents(root)
    (root / "train" / "000007.png").unlink()
    draw_dataset(root, SPLITS, SETTINGS)
    assert contents(root) == before


@pytest.mark.parametrize("name", ["photo.jpg", "train/mine.png", "annotations/train.json"])
def test_nothing_is_drawn_into_a_folder_of_somebody_else(tmp_path, caplog, name):
    root = tmp_path / "data"
    (root / name).parent.mkdir(parents=True)
    (root / name).write_text("{}")
    draw_dataset(root, SPLITS, SETTINGS)
    assert contents(root) == {name: b"{}"}
    assert "nothing is drawn there, since it contains 1 file not drawn by us" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_files_added_to_ours_are_never_deleted(root):
    (root / "train" / "mine.png").write_text("mine")
    before = contents(root)
    with pytest.raises(DataError, match=r"and 1 file .* such as train/mine.png.*data.shapes=null"):
        draw_dataset(root, SPLITS, changed(seed=9))
    assert contents(root) == before


def test_annotations_added_to_ours_are_used_and_nothing_is_drawn(root):
    (root / "mine.json").write_text("{}")
    before = contents(root)
    draw_dataset(root, SPLITS | {"train": Paths("train", "mine.json")}, SETTINGS)
    assert contents(root) == before


def test_what_a_killed_process_drew_is_removed_by_the_next_one(tmp_path, drawn, caplog):
    caplog.set_level(logging.INFO)
    stale = tmp_path / f".shapes-{uuid.uuid4().hex}"
    draw_dataset(stale, SPLITS, SETTINGS)
    (stale / "train" / "000007.png").unlink()
    in_use = tmp_path / f".shapes-{uuid.uuid4().hex}"
    draw_dataset(in_use, SPLITS, SETTINGS)
    users = tmp_path / f".shapes-{uuid.uuid4().hex}"
    users.mkdir()
    (users / "photo.jpg").write_text("mine")
    with locked(in_use):
        draw_dataset(tmp_path / "shapes", SPLITS, SETTINGS)
    assert {path.name for path in tmp_path.iterdir()} == {"shapes", in_use.name, users.name}
    assert f"removed {stale}, left by an interrupted process" in caplog.messages
    assert f"{tmp_path / 'shapes'}: drew 40 train and 6 val images" in caplog.text
    assert contents(tmp_path / "shapes") == contents(drawn)


def test_an_interrupted_drawing_leaves_nothing_and_is_redone(tmp_path, drawn, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shapes.os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            draw_dataset(tmp_path / "shapes", SPLITS, SETTINGS)
    assert list(tmp_path.iterdir()) == []
    draw_dataset(tmp_path / "shapes", SPLITS, SETTINGS)
    assert contents(tmp_path / "shapes") == contents(drawn)


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="not a folder; choose another data.root"):
        draw_dataset(tmp_path / "file", SPLITS, SETTINGS)
    with pytest.raises(DataError, match="cannot draw the dataset there"):
        draw_dataset(tmp_path / "file" / "below", SPLITS, SETTINGS)


def test_shapes_stand_out_from_the_background(drawn):
    """A shape is another colour than what surrounds it, or there would be nothing to learn."""
    content = json.loads((drawn / "annotations" / "train.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    contrasts = []
    for annotation in content["annotations"]:
        outline = annotation["segmentation"]
        if isinstance(outline, list):
            (outline,) = coco_mask.frPyObjects(outline, 96, 96)
        mask = coco_mask.decode(outline).astype(bool)
        pixels = np.asarray(Image.open(drawn / "train" / names[annotation["image_id"]])).astype(int)
        background = np.median(pixels[~mask], axis=0)
        contrasts.append(np.abs(np.median(pixels[mask], axis=0) - background).sum())
    assert np.quantile(contrasts, 0.05) > 60  # noise has a standard deviation of 8 per channel
