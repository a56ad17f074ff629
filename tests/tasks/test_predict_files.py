"""Predictions for files and folders: which are taken, what they are called, what is listed."""

import json
import logging
import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from resnet_backbone.data.loading.images import read_image
from resnet_backbone.errors import Interrupted, StorageError
from resnet_backbone.tasks.detection.prediction import Prediction
from resnet_backbone.tasks.detection.predictions import CocoPredictions
from resnet_backbone.tasks.predict_files import predict_files
from resnet_backbone.utils.own_files import LIST, OwnFiles

WIDTH, HEIGHT = 21, 13


class Found(Prediction):
    """A prediction that draws by inverting its image."""

    def draw(self, *, threshold, color_by):
        assert threshold == 0.0  # all that was found
        return Image.fromarray(255 - self.image.permute(1, 2, 0).numpy())


class Finder:
    """Stands in for a `Predictor`: finds two boxes in every image."""

    class_names = ("cat", "dog")
    category_ids = (3, 7)

    def __init__(self, masks=True, signal_at=None, fail_at=None):
        self.masks, self.signal_at, self.fail_at, self.seen = masks, signal_at, fail_at or {}, []

    def __call__(self, path, *, image_id):
        image = read_image(path)
        self.seen.append(image_id)
        if image_id == self.signal_at:
            os.kill(os.getpid(), signal.SIGINT)
        if image_id in self.fail_at:
            raise self.fail_at[image_id]
        height, width = image.shape[1:]
        masks = torch.zeros(2, height, width, dtype=torch.bool)
        masks[0, 2:5, 1:9] = True
        return Found(
            image_id=image_id,
            size=(height, width),
            boxes=torch.tensor([[1.0, 2.0, 9.0, 5.0], [0.125, 0.0, 20.375, 12.5]]),
            scores=torch.tensor([0.75, 0.123456]),
            classes=torch.tensor([1, 0]),
            masks=masks if self.masks else None,
            image=image,
            class_names=self.class_names,
            category_ids=self.category_ids,
        )


def predict(finder, inputs, output):
    form = CocoPredictions(finder.class_names, finder.category_ids)
    return predict_files(finder, form, inputs, output)


def write(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (shade, shade, shade)).save(path)
    return path


def listed(output):
    return json.loads((output / "predictions.json").read_text())


def test_the_list_is_cocos_and_its_tools_read_it(tmp_path):
    files = [write(tmp_path / "a.png"), write(tmp_path / "b.png")]
    outcome = predict(Finder(), files, tmp_path / "out")
    assert (outcome.drawn, outcome.failures) == (2, [])
    coco = COCO(str(tmp_path / "out" / "predictions.json"))
    assert coco.getCatIds() == [3, 7] and coco.loadCats([7])[0]["name"] == "dog"
    assert coco.getImgIds() == [1, 2]
    assert coco.loadImgs([2]) == [
        {
            "id": 2,
            "file_name": str(files[1]),
            "picture": "b.jpg",
            "height": HEIGHT,
            "width": WIDTH,
        }
    ]
    assert coco.getAnnIds() == [1, 2, 3, 4]
    first, second = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    assert (first["category_id"], first["bbox"], first["area"]) == (7, [1, 2, 8, 3], 24)
    assert (first["score"], first["iscrowd"], first["image_id"]) == (0.75, 0, 2)
    # Two decimals of a pixel, five of a score.
    assert (second["bbox"], second["score"]) == ([0.12, 0, 20.25, 12.5], 0.12346)
    assert coco.annToMask(first)[2:5, 1:9].all() and coco.annToMask(first).sum() == 24
    assert coco_mask.decode(second["segmentation"]).shape == (HEIGHT, WIDTH)
    assert coco.annToMask(second).sum() == 0


def test_detectors_without_masks_list_boxes_alone(tmp_path):
    predict(Finder(masks=False), [write(tmp_path / "a.png")], tmp_path / "out")
    assert all("segmentation" not in entry for entry in listed(tmp_path / "out")["annotations"])


def test_pictures_are_what_was_drawn(tmp_path):
    predict(Finder(), [write(tmp_path / "a.png", shade=40)], tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.jpg") as picture:
        assert picture.format == "JPEG" and picture.size == (WIDTH, HEIGHT)
        # Of one shade, JPEG keeps it to a level or two.
        assert abs(np.asarray(picture).astype(int) - 215).max() <= 2


def test_what_cannot_be_used_is_a_line_and_the_others_are_done(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "absent.png").symlink_to("absent.png")  # in a circle
    inputs = [tmp_path / "absent.png", tmp_path / "empty", bad, write(tmp_path / "good.png")]
    finder = Finder()
    outcome = predict(finder, inputs, tmp_path / "out")
    assert outcome.drawn == 1
    empty, absent, damaged = outcome.failures
    assert empty == f"{tmp_path / 'empty'}: this folder contains no image"
    assert absent == f"{tmp_path / 'absent.png'}: no such image"
    assert damaged.startswith(f"{bad}: ")
    assert finder.seen == [3]  # an image keeps the number of its place
    assert [image["id"] for image in listed(tmp_path / "out")["images"]] == [3]
    assert [entry["id"] for entry in listed(tmp_path / "out")["annotations"]] == [1, 2]


def test_without_any_usable_image_nothing_is_written(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    outcome = predict(Finder(), [tmp_path / "empty"], tmp_path / "out")
    assert (outcome.drawn, len(outcome.failures)) == (0, 1)
    outcome = predict(Finder(), [bad], tmp_path / "out")
    assert (outcome.drawn, len(outcome.failures)) == (0, 1)
    assert not (tmp_path / "out").exists()


def test_a_second_run_replaces_its_own_pictures_and_does_not_look_at_them(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    photos = tmp_path / "photos"
    write(photos / "b.png")
    for inputs in ([photos], [photos], [photos, photos / "out"]):
        predict(Finder(), inputs, photos / "out")
        assert [image["picture"] for image in listed(photos / "out")["images"]] == ["b.jpg"]
        names = sorted(path.name for path in (photos / "out").iterdir())
        assert names == [LIST, "b.jpg", "predictions.json"]
    assert f"{photos}: 1 image; left out: 1 .json, 1 drawn by us, 1 hidden" in caplog.messages


def test_pictures_and_lists_of_others_are_never_replaced(tmp_path):
    photo, out = write(tmp_path / "street.png"), tmp_path / "out"
    write(out / "street.jpg", shade=7)
    before = (out / "street.jpg").read_bytes()
    predict(Finder(), [photo], out)
    assert (out / "street.jpg").read_bytes() == before and (out / "street_2.jpg").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "predictions.json").write_text("my own")
    finder = Finder()
    with pytest.raises(StorageError, match=r"contains predictions\.json"):
        predict(finder, [photo], other)
    assert finder.seen == [] and (other / "predictions.json").read_text() == "my own"


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), "gpu"]
)
def test_an_image_too_large_for_the_memory_is_a_line(tmp_path, error):
    error = torch.OutOfMemoryError("CUDA out of memory") if error == "gpu" else error
    files = [write(tmp_path / f"{name}.png") for name in "abc"]
    finder = Finder(fail_at={2: error})
    outcome = predict(finder, files, tmp_path / "out")
    assert outcome.drawn == 2
    assert outcome.failures == [f"{files[1]}: not enough memory for this image"]


def test_other_errors_are_bugs_but_what_was_done_is_listed(tmp_path):
    files = [write(tmp_path / f"{name}.png") for name in "abc"]
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        predict(Finder(fail_at={3: RuntimeError("sizes of tensors")}), files, tmp_path / "o")
    assert [image["id"] for image in listed(tmp_path / "o")["images"]] == [1, 2]


def test_results_are_written_as_they_come(tmp_path):
    """A process that is killed loses no more than a second's images."""
    files = [write(tmp_path / f"{name}.png") for name in "ab"]
    seen = []

    class Watching(Finder):
        def __call__(self, path, *, image_id):
            seen.append((tmp_path / "out" / "predictions.json").exists())
            return super().__call__(path, image_id=image_id)

    predict(Watching(), files, tmp_path / "out")
    assert seen == [False, True]


NAMES = st.lists(
    st.sampled_from(["a.png", "a.jpg", "a_2.jpg", "x/a.png", "x/a_2.jpg", "y/a.webp", "b.jpg"]),
    min_size=1,
    unique=True,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(NAMES, st.booleans())
def test_no_picture_is_written_over_an_input_or_another_picture(tmp_path, names, beside):
    """Whatever the names are, and also where pictures go beside the inputs."""
    root = tmp_path / str(len(list(tmp_path.iterdir())))
    files = [write(root / name, shade=10 * number) for number, name in enumerate(names)]
    before = [file.read_bytes() for file in files]
    output = root if beside else root / "out"
    predict(Finder(), files, output)
    assert [file.read_bytes() for file in files] == before
    pictures = [image["picture"] for image in listed(output)["images"]]
    assert len(set(pictures)) == len(files)
    for number, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        stem = name.rpartition("/")[2].partition(".")[0]
        assert picture.startswith(stem) and picture.endswith(".jpg")
        shade = np.asarray(Image.open(output / picture)).astype(int)
        assert abs(shade - (255 - 10 * number)).max() <= 2


def test_a_signal_ends_it_before_the_next_image_and_what_was_done_is_listed(tmp_path):
    files = [write(tmp_path / f"{number}.png") for number in range(4)]
    finder = Finder(signal_at=2)
    with pytest.raises(Interrupted, match="stopped by a signal after 2 of 4 images"):
        predict(finder, files, tmp_path / "out")
    assert finder.seen == [1, 2]
    assert [image["picture"] for image in listed(tmp_path / "out")["images"]] == ["0.jpg", "1.jpg"]
    assert OwnFiles(tmp_path / "out", "prediction").listed() == {
        *("0.jpg", "1.jpg", "predictions.json")
    }


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_an_output_that_cannot_be_made_is_a_storage_error(tmp_path, below):
    (tmp_path / "out").write_text("a file")
    finder = Finder()
    with pytest.raises(StorageError, match=r"out.*: cannot be written: .*(directory|exists)"):
        predict(finder, [write(tmp_path / "a.png")], tmp_path / "out" / below)
    assert finder.seen == []
