import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_rcnn import SIDE, Seer, tiny_config, tiny_detector, write_tiny_dataset

from resnet_backbone.config.schema import DataConfig
from resnet_backbone.data.coco.build import build_dataset
from resnet_backbone.errors import StorageError
from resnet_backbone.evaluation.confusion import ObjectMatches
from resnet_backbone.evaluation.details import Details
from resnet_backbone.report.colors import class_color
from resnet_backbone.structures import Sample
from resnet_backbone.tasks.detection.pictures import (
    Painter,
    make_painter,
    save_picture,
    true_detections,
    write_pictures,
    write_worst_pictures,
)
from resnet_backbone.utils.own_files import OwnFiles

CPU = torch.device("cpu")


def run(folder):
    return OwnFiles(folder, "run")


def tiny_dataset(root, count=4, *, with_masks=True):
    section = write_tiny_dataset(root / "data", count)
    return build_dataset(
        DataConfig.model_validate(section), "val", with_masks=with_masks, seed=0, annotated=False
    )


@pytest.fixture
def dataset(tmp_path):
    return tiny_dataset(tmp_path)


def test_as_many_pictures_as_asked_for_named_after_the_images(tmp_path):
    dataset = tiny_dataset(tmp_path)
    painter = Painter(Seer().train(), dataset, CPU)
    files = write_pictures(painter, run(tmp_path), count=3)
    assert files == [tmp_path / "pictures" / name for name in ("1.jpg", "2.jpg", "3.jpg")]
    assert painter.model.training
    for file in files:
        with Image.open(file) as picture:
            assert picture.width > 2 * picture.height * 0.9  # two panels


def test_the_original_image_is_drawn_and_not_what_the_model_sees(tmp_path):
    dataset = tiny_dataset(tmp_path)
    picture = np.asarray(Painter(Seer(), dataset, CPU, threshold=0.0).draw(0))
    with Image.open(dataset.files[0]) as image:
        # Below `MIN_SIDE`, the original of 128 pixels is enlarged four times, not the input's 64.
        expected = np.asarray(image.resize((512, 512), Image.Resampling.BICUBIC))
    truth = picture[-512:, -512:]
    assert np.array_equal(truth[400:, 400:], expected[400:, 400:])  # outside of the square
    # The frame of the square, which is at 16 to 80 of 128 pixels.
    assert tuple(truth[200, 4 * 16]) == tuple(truth[200, 4 * 80]) == class_color(0)


def test_pictures_have_the_names_of_files_in_any_folder(tmp_path):
    section = write_tiny_dataset(tmp_path / "data", 2)
    file = tmp_path / "data" / "annotations" / "val.json"
    content = json.loads(file.read_text())
    for image, folder in zip(content["images"], ("a", "b"), strict=True):
        (tmp_path / "data" / "val" / folder).mkdir()
        old = tmp_path / "data" / "val" / image["file_name"]
        old.rename(tmp_path / "data" / "val" / folder / "street.png")
        image["file_name"] = f"{folder}/street.png"
    file.write_text(json.dumps(content))
    dataset = build_dataset(DataConfig.model_validate(section), "val", with_masks=True, seed=0)
    painter = Painter(Seer(), dataset, CPU)
    for _ in range(2):  # the second time they are our own
        files = write_pictures(painter, run(tmp_path), count=8, folder="pictures/some")
        assert [file.name for file in files] == ["street.jpg", "street_2.jpg"]
        assert files[0].parent == tmp_path / "pictures" / "some"


def test_images_that_cannot_be_read_are_left_out(tmp_path, dataset, caplog):
    (dataset.folder / "2.png").write_bytes(b"")
    files = write_pictures(Painter(Seer(), dataset, CPU), run(tmp_path), count=2)
    assert [file.name for file in files] == ["1.jpg", "3.jpg"]
    assert "not drawn" in caplog.text and "2.png" in caplog.text


def test_without_ground_truth_there_is_one_panel(tmp_path):
    section = write_tiny_dataset(tmp_path / "data", 1)
    file = tmp_path / "data" / "annotations" / "val.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": []}))
    dataset = build_dataset(DataConfig.model_validate(section), "val", with_masks=True, seed=0)
    picture = Painter(Seer(), dataset, CPU).draw(0)
    assert picture.width < picture.height < picture.width * 1.2  # and a heading


def test_a_real_detector(tmp_path, dataset):
    cfg = tiny_config()
    cfg = cfg.model_copy(
        update={"evaluation": cfg.evaluation.model_copy(update={"color_by": "instance"})}
    )
    painter = make_painter(cfg, tiny_detector(), dataset, CPU)
    assert painter.color_by == "instance"
    assert len(write_pictures(painter, run(tmp_path), count=1, captions={2: ""})) == 1
    assert (tmp_path / "pictures" / "3.jpg").exists()


def details(dataset, images):
    """An evaluation in which these images (by index) have one missed object more each."""
    wrong = np.repeat(images, np.arange(len(images), 0, -1))
    matches = ObjectMatches(
        images=wrong, true=wrong * 0, predicted=wrong * 0 + 3, scores=wrong * 0.0, class_count=3
    )
    return Details(dataset.class_names, dataset.image_ids, {}, matches)


def test_the_worst_images_are_drawn_below_what_is_wrong_and_replace_former_ones(tmp_path, dataset):
    painter, own = Painter(Seer(), dataset, CPU), run(tmp_path)
    (plain,) = write_pictures(painter, own, count=1)
    for images in ([2, 0, 3], [1, 2]):
        files = write_worst_pictures(painter, own, details(dataset, images), count=2)
        assert [file.stem for file in files] == [f"{image + 1}" for image in images[:2]]
        folder = tmp_path / "pictures" / "worst"
        assert sorted(folder.iterdir()) == sorted(files)
    with Image.open(files[0]) as worst, Image.open(plain) as picture:
        assert worst.width == picture.width and worst.height > picture.height
    assert plain.exists()


def test_a_folder_that_cannot_be_made(tmp_path, dataset):
    (tmp_path / "pictures").write_text("")
    with pytest.raises(StorageError, match="cannot write the picture"):
        write_pictures(Painter(Seer(), dataset, CPU), run(tmp_path), count=1)


def test_pictures_of_others_are_not_replaced(tmp_path, dataset):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_text("my holiday")
    for _ in range(2):  # the second time the first picture is our own
        (file,) = write_pictures(Painter(Seer(), dataset, CPU), run(tmp_path), count=1)
        assert file == tmp_path / "pictures" / "1_2.jpg"
    assert (tmp_path / "pictures" / "1.jpg").read_text() == "my holiday"


def test_a_picture_with_more_pixels_on_a_side_than_jpeg_allows_is_scaled_down(tmp_path, caplog):
    save_picture(Image.new("RGB", (70_000, 2)), tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        assert picture.size == (65_500, 2)
    assert "scaled down from 70000 x 2 pixels" in caplog.text


def sample(*masks):
    return Sample(
        image=torch.zeros(3, SIDE, SIDE, dtype=torch.uint8),
        image_id=1,
        original_size=(SIDE, SIDE),
        key=1,
        boxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]] * max(1, len(masks))),
        classes=torch.zeros(max(1, len(masks)), dtype=torch.int64),
        masks=masks,
    )


def test_truth_has_the_boxes_and_masks_of_the_sample():
    bitmap = np.zeros((SIDE, SIDE), dtype=bool)
    bitmap[3:5] = True
    corners = np.array([[8.0, 8.0], [40.0, 8.0], [40.0, 40.0], [8.0, 40.0]])
    truth = true_detections(sample([corners], bitmap))
    assert truth.boxes.tolist() == [[8, 8, 40, 40]] * 2
    assert truth.masks[0, 8:40, 8:40].all() and truth.masks[0].sum() == 32 * 32
    assert torch.equal(truth.masks[1], torch.from_numpy(bitmap))


def test_truth_without_masks_or_without_instances():
    assert true_detections(sample()).masks is None
    empty = replace(sample(), boxes=torch.zeros(0, 4), classes=torch.zeros(0, dtype=torch.int64))
    assert len(true_detections(empty)) == 0
