import logging

import pytest
from coco_files import good, write, write_many

from resnet_backbone.config.schema import DataConfig
from resnet_backbone.data.coco.build import (
    build_dataset,
    build_test_loader,
    build_train_loader,
    draw_shapes_dataset,
)
from resnet_backbone.errors import ConfigError, DataError


def config(root, **changes):
    split = {"images": "images", "annotations": "annotations.json"}
    return DataConfig.model_validate(
        {"root": str(root), "train": split, "val": split, "workers": 0} | changes
    )


@pytest.fixture
def with_an_empty_image(tmp_path):
    content = good()
    del content["annotations"][1]
    write(tmp_path, content)
    return tmp_path


def test_images_without_boxes_are_dropped_in_training_alone(with_an_empty_image, caplog):
    caplog.set_level(logging.INFO)
    cfg = config(with_an_empty_image)
    assert build_dataset(cfg, "train", with_masks=True, seed=0).image_ids == (1,)
    assert "1 images, 2 classes; 1 images without boxes left out" in caplog.text
    assert build_dataset(cfg, "val", with_masks=True, seed=0).image_ids == (1, 2)
    kept = config(with_an_empty_image, keep_empty=True)
    assert build_dataset(kept, "train", with_masks=True, seed=0).image_ids == (1, 2)
    assert caplog.text.count("1 images without boxes kept") == 2


def test_crowds_are_no_boxes(tmp_path):
    content = good()
    content["annotations"][1]["iscrowd"] = 1
    write(tmp_path, content)
    cfg = config(tmp_path)
    assert build_dataset(cfg, "train", with_masks=True, seed=0).image_ids == (1,)
    dataset = build_dataset(cfg, "val", with_masks=True, seed=0)
    (batch,) = build_test_loader(cfg, dataset, batch_size=2)
    assert batch.targets.valid.tolist() == [[True], [False]]


def test_nothing_left_to_train_on(tmp_path):
    write(tmp_path, good() | {"annotations": []})
    with pytest.raises(DataError, match="no image has a box; set data.keep_empty=true"):
        build_dataset(config(tmp_path), "train", with_masks=True, seed=0)


def test_a_limit_takes_the_first_images_by_id(tmp_path):
    write_many(tmp_path, [(30, 40)] * 5)
    split = {"images": "images", "annotations": "annotations.json", "limit": 3}
    dataset = build_dataset(config(tmp_path, train=split), "train", with_masks=True, seed=0)
    assert dataset.image_ids == (1, 2, 3) and len(dataset) == 3
    assert dataset.folder == tmp_path / "images"


def test_what_was_dropped_is_logged_in_one_line(tmp_path, caplog):
    content = good()
    content["annotations"][0]["bbox"] = [5, 5, 0, 3]
    write(tmp_path, content)
    dataset = build_dataset(config(tmp_path), "train", with_masks=True, seed=0)
    assert "left out or clipped 1 x box without area" in caplog.text
    assert len(dataset.defects.dropped) == 1


def test_the_batch_must_divide(tmp_path):
    write_many(tmp_path, [(30, 40)] * 5)
    cfg = config(tmp_path)
    dataset = build_dataset(cfg, "train", with_masks=True, seed=0)
    with pytest.raises(
        ConfigError, match="batch_size is 6, expected a multiple of 4: 2 ranks x 2 micro-batches"
    ):
        build_train_loader(cfg, dataset, batch_size=6, seed=0, accumulate=2, world_size=2)


def test_shapes_are_drawn_where_the_configuration_says(tmp_path):
    cfg = config(
        tmp_path / "shapes", shapes={"train_images": 3, "val_images": 2, "image_size": 64}
    ).model_copy(update={"keep_empty": True})
    split = cfg.train.model_copy(update={"images": "more", "annotations": "more.json"})
    cfg = cfg.model_copy(update={"val": split})
    draw_shapes_dataset(cfg)
    assert len(build_dataset(cfg, "train", with_masks=True, seed=0)) == 3
    assert len(build_dataset(cfg, "val", with_masks=True, seed=0)) == 2
    with pytest.raises(ConfigError, match="data.shapes is not set"):
        draw_shapes_dataset(config(tmp_path))


def real(coco_mini, **changes):
    return DataConfig.model_validate({"root": str(coco_mini), "workers": 0} | changes)


def test_a_real_batch_has_the_sizes_of_the_configuration(coco_mini):
    cfg = real(coco_mini)
    dataset = build_dataset(cfg, "train", with_masks=True, seed=0)
    loader = build_train_loader(cfg, dataset, batch_size=2, seed=0, size_divisor=32)
    batch = next(iter(loader))
    for height, width in batch.sizes.tolist():
        assert min(height, width) in cfg.min_sizes or max(height, width) == cfg.max_size
    assert all(side % 32 == 0 for side in batch.images.shape[2:])
    boxes = batch.targets.boxes[batch.targets.valid]
    assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0
    landscape = batch.sizes[:, 1] > batch.sizes[:, 0]
    assert landscape.all() or not landscape.any()
