"""The script that draws README's pictures; it is not part of the package."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "pictures.py"


@pytest.fixture(scope="module")
def pictures():
    spec = importlib.util.spec_from_file_location("pictures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_photos_under_the_licence_are_learned(pictures):
    images = [{"id": i, "license": pictures.LICENCE} for i in (*pictures.PHOTOS, 1)]
    annotations = [{"id": i, "image_id": image["id"]} for i, image in enumerate(images)]
    found = pictures.chosen({"images": images, "annotations": annotations, "categories": []})
    assert [image["id"] for image in found["images"]] == list(pictures.PHOTOS)
    assert [entry["image_id"] for entry in found["annotations"]] == list(pictures.PHOTOS)
    assert pictures.SHOWN in pictures.PHOTOS
    images[3]["license"] = 3
    with pytest.raises(ValueError, match="8 photos with licence 4"):
        pictures.chosen({"images": images, "annotations": annotations})


def test_pictures_of_a_run_stand_side_by_side(pictures, tmp_path):
    (tmp_path / "run" / "pictures").mkdir(parents=True)
    for name, size, value in (("1", (31, 17), 0), ("2", (13, 19), 255), ("3", (7, 7), 9)):
        Image.new("L", size, value).save(tmp_path / "run" / "pictures" / f"{name}.jpg")
    row = pictures.of_quickstart(tmp_path / "run")
    assert row.size == (31 + 13, 19)
    assert np.asarray(row)[:17, :31].max() == 0
    assert np.asarray(row)[:, 31:].min() == 255


@pytest.mark.slow
def test_the_photo_is_drawn_by_the_command(pictures, coco_mini, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [
        *("solver.max_iter=2", "solver.warmup_iters=0", "data.min_sizes=[64]", "data.max_size=96")
    ]
    pictures.main(["photo", "--coco", str(coco_mini), "--docs", str(tmp_path), *small])
    assert Image.open(tmp_path / "photo.jpg").size == (640, 480)
