"""The classifier's configuration: the paper's defaults, bounds, and keys that must fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from resnet_backbone.config.classification_schema import (
    IN_MEMORY,
    ClassEvaluationConfig,
    ClassificationConfig,
    ClassifierConfig,
    DrawnConfig,
    ImageDataConfig,
)

FORMATS = ("folders", "shards", "resident", "cifar10", "cifar100", "shapes")


def data(**changes):
    """A data section whose crop is the one that its format needs."""
    crop = "pad" if changes.get("format") in IN_MEMORY else "scale_jitter"
    return ImageDataConfig.model_validate({"crop": crop} | changes)


def test_defaults_are_the_papers_training_on_imagenet():
    """He et al. 2016, section 3.4, read by hand."""
    cfg = ClassificationConfig()
    assert (cfg.data.crop, cfg.data.short_side, cfg.data.size) == ("scale_jitter", (256, 480), 224)
    assert (cfg.data.flip, cfg.data.test_resize, cfg.data.test_size) == (0.5, 256, 224)
    solver = cfg.solver
    assert (solver.optimizer, solver.lr, solver.momentum) == ("sgd", 0.1, 0.9)
    assert (solver.batch_size, solver.reference_batch_size) == (256, 256)
    assert (solver.weight_decay, solver.weight_decay_norm) == (1e-4, 1e-4)
    assert (solver.schedule, solver.gamma, solver.max_iter) == ("plateau", 0.1, 600_000)
    assert (solver.milestones, solver.warmup_iters) == ((), 0)
    assert (cfg.model.name, cfg.model.norm, cfg.model.loss) == ("resnet50", "BN", "ce")
    assert cfg.evaluation.scales == (224, 256, 384, 480, 640)


@pytest.mark.parametrize(
    ("section", "key", "allowed", "refused"),
    [
        (ImageDataConfig, "train", (("a", "b"),), ((), "a")),
        (ImageDataConfig, "hold_out", (0, 5000), (-1,)),
        (ImageDataConfig, "short_side", ((224, 224), (256, 480)), ((480, 256), (256,))),
        (ImageDataConfig, "area", ((0.08, 1.0), (0.5, 0.5)), ((1.0, 0.08), (0.0, 1.0))),
        (ImageDataConfig, "ratio", ((0.75, 1.5),), ((1.5, 0.75), (-1.0, 1.0))),
        (ImageDataConfig, "flip", (0, 1), (1.1,)),
        (ImageDataConfig, "random_erase", (0, 1), (-0.1,)),
        (ImageDataConfig, "repeats", (1, 4), (0,)),
        (ImageDataConfig, "mixup", (0, 0.2), (-0.1,)),
        (ImageDataConfig, "interpolation", ("bilinear", "bicubic"), ("nearest",)),
        (ImageDataConfig, "progressive", ((), ((0, 128), (5, 160))), (((5, 0),), ((-1, 9),))),
        (DrawnConfig, "image_size", (16, 128), (15, 129)),
        (ClassifierConfig, "num_classes", (None, 1), (0,)),
        (ClassifierConfig, "norm", ("BN", "SyncBN", "GN"), ("FrozenBN",)),
        (ClassifierConfig, "stochastic_depth", (0, 0.5), (1,)),
        (ClassifierConfig, "label_smoothing", (0, 0.1), (1, -0.1)),
        (ClassEvaluationConfig, "scales", ((224,),), ((), (0,))),
        (ClassEvaluationConfig, "testing", ("single", "ten_crop", "multi_scale"), ("two_crop",)),
    ],
)
def test_values_have_bounds(section, key, allowed, refused):
    for value in allowed:
        assert getattr(section(**{key: value}), key) == value
    for value in refused:
        with pytest.raises(ValidationError, match=key):
            section(**{key: value})


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("crop", ["scale_jitter", "random_resized", "pad"])
def test_images_in_memory_are_padded_and_others_are_cut_from_files(form, crop):
    in_memory = form not in ("folders", "shards")
    assert data(format=form).in_memory == in_memory
    if in_memory == (crop == "pad"):
        assert data(format=form, crop=crop).crop == crop
    else:
        needed = "pad" if in_memory else "scale_jitter or random_resized"
        expected = f"data.crop is {crop}, but data.format {form} requires {needed}"
        with pytest.raises(ValidationError, match=expected):
            data(format=form, crop=crop)


READ_ALONE = {
    "auto_augment": "trivial",
    "random_erase": 0.25,
    "pca_color": 0.1,
    "progressive": ((0, 128),),
    "repeats": 3,
}


@pytest.mark.parametrize("key", READ_ALONE)
@pytest.mark.parametrize("form", FORMATS)
def test_what_is_done_to_images_as_they_are_read_is_refused_where_none_is(form, key):
    """A key that nothing would look at must not be accepted."""
    given_ = {"format": form, key: READ_ALONE[key]}
    if form in IN_MEMORY:
        with pytest.raises(ValidationError, match=f"data.{key} augments images as they are read"):
            data(**given_)
    else:
        assert getattr(data(**given_), key) == READ_ALONE[key]


@pytest.mark.parametrize("form", FORMATS)
def test_labels_in_a_file_are_for_folders(form):
    if form == "folders":
        assert data(val_labels="val.txt").val_labels == "val.txt"
    else:
        with pytest.raises(ValidationError, match=f"data.val_labels .* {form} has its own labels"):
            data(format=form, val_labels="val.txt")


@pytest.mark.parametrize("key", ["size", "progressive"])
def test_no_crop_is_larger_than_the_image_it_is_cut_from(key):
    def of(size):
        return size if key == "size" else ((0, 100), (7, size))

    options = {"short_side": (240, 480), "size": 200, "test_resize": 256}
    assert data(**options | {key: of(240)}).short_side == (240, 480)
    expected = f"data.short_side starts at 240, expected at least data.{key}, which is 241"
    with pytest.raises(ValidationError, match=expected):
        data(**options | {key: of(241)})
    # Another crop is stretched to its size.
    assert data(**options | {key: of(241), "crop": "random_resized"}).crop == "random_resized"


def test_no_test_crop_is_larger_than_the_resized_image():
    assert data(test_resize=224, test_size=224).test_size == 224
    with pytest.raises(
        ValidationError,
        match="data.test_resize is 223, expected at least data.test_size, which is 224",
    ):
        data(test_resize=223, test_size=224)


@given(st.lists(st.integers(0, 9), max_size=4))
def test_images_grow_at_ascending_steps(steps):
    stages = tuple((step, 128) for step in steps)
    if all(first < second for first, second in zip(steps, steps[1:], strict=False)):
        assert data(progressive=stages).progressive == stages
    else:
        with pytest.raises(ValidationError, match="found steps .* expected ascending ones"):
            data(progressive=stages)


@pytest.mark.parametrize("form", FORMATS)
def test_a_mean_image_is_computed_of_data_in_memory_alone(form):
    tree = {"model": {"mean_image": "auto"}, "data": data(format=form).model_dump()}
    if form in IN_MEMORY:
        assert ClassificationConfig.model_validate(tree).model.mean_image == "auto"
        return
    expected = f"data.format is {form}; compute a file with tools/compute_mean.py"
    with pytest.raises(ValidationError, match=expected):
        ClassificationConfig.model_validate(tree)
    tree["model"]["mean_image"] = "mean.safetensors"
    assert ClassificationConfig.model_validate(tree).model.mean_image == "mean.safetensors"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("testing", ["ten_crop", "multi_scale"])
def test_images_in_memory_are_tested_as_they_are(form, testing):
    tree = {"evaluation": {"testing": testing}, "data": data(format=form).model_dump()}
    if form in IN_MEMORY:
        expected = f"evaluation.testing {testing} resizes the images, but data.format {form} tests"
        with pytest.raises(ValidationError, match=expected):
            ClassificationConfig.model_validate(tree)
    else:
        assert ClassificationConfig.model_validate(tree).evaluation.testing == testing
