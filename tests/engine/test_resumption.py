"""What may change when a run goes on: every key of both schemas, and the data."""

import copy
import logging

import pytest

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.engine.resumption import (
    MAY_CHANGE,
    MUST_STAY_IF,
    check_same_config,
    check_same_data,
)
from resnet_backbone.errors import ConfigError, DataError
from resnet_backbone.utils.trees import leaves

SCHEMAS = [Config, ClassificationConfig]

# Where files are, how often, on what machine, and what to do about bad images; nothing else.
BOTH = {
    *("name", "output", "overrides", "device", "log_period", "solver.max_iter"),
    *("solver.reference_max_iter", "model.allow_extra", "model.class_layers"),
    *("data.root", "data.workers", "data.on_bad_sample", "data.max_pixels", "data.check_images"),
    "model.weights",
    *("evaluation.period", "evaluation.times", "evaluation.patience"),
    "evaluation.batch_size",
    *("checkpoint.period", "checkpoint.keep"),
}
FREE = {
    Config: BOTH
    | {
        *("data.train.images", "data.train.annotations", "data.val.images"),
        *("data.val.annotations", "model.allow_partial", "model.backbone.weights"),
        *("model.backbone.activation_checkpointing", "evaluation.loss", "evaluation.pictures"),
        *("evaluation.color_by", "evaluation.worst_pictures"),
        "evaluation.progress_pictures",
    },
    ClassificationConfig: BOTH - {"evaluation.period", "evaluation.times"}  # by default, a plateau
    | {
        *("data.train", "data.val", "data.val_labels", "model.activation_checkpointing"),
        "model.mean_image",
    },
}


def saved_by(cfg, key=None):
    """What a checkpoint has of a configuration, with another value of a key."""
    tree = copy.deepcopy(cfg.model_dump(mode="json"))
    if key is not None:
        *sections, last = key.split(".")
        section = tree
        for name in sections:
            section = section[name]
        section[last] = "another"
    return tree


def may_change(cfg, key, folder):
    try:
        check_same_config(saved_by(cfg, key), cfg, folder)
    except ConfigError as error:
        assert f"\n  {key}: another in the checkpoint, " in str(error)
        return False
    return True


@pytest.mark.parametrize("schema", SCHEMAS)
def test_of_all_keys_those_may_change_that_do_not_change_the_result(schema, tmp_path):
    cfg = schema()
    keys = dict(leaves(cfg.model_dump(mode="json")))
    assert {key for key in keys if may_change(cfg, key, tmp_path)} == FREE[schema]
    assert len(keys) > 60


def test_there_is_no_rule_for_a_key_that_does_not_exist():
    keys = {key for schema in SCHEMAS for key, _ in leaves(schema().model_dump())}
    assert MAY_CHANGE.keys() <= keys
    assert MUST_STAY_IF.keys() <= MAY_CHANGE.keys()
    assert {condition.key for condition in MUST_STAY_IF.values()} <= keys


@pytest.mark.parametrize(
    ("key", "sections", "reason"),
    [
        ("solver.max_iter", {"solver": {"schedule": "cosine"}}, "schedule is cosine: it determ"),
        ("evaluation.period", {"solver": {"schedule": "plateau"}}, "schedule is plateau: the eval"),
        ("log_period", {"solver": {"warmup_until_error": 0.8}}, "warmup_until_error is 0.8: the"),
    ],
)
def test_a_key_on_which_the_learning_rate_depends_must_stay(tmp_path, key, sections, reason):
    assert may_change(Config(), key, tmp_path)
    cfg = Config.model_validate(sections)
    with pytest.raises(ConfigError, match=f"{key}: another in the checkpoint, .* now .*{reason}"):
        check_same_config(saved_by(cfg, key), cfg, tmp_path)


def test_an_image_computed_from_the_training_images_is_not_one_from_a_file(tmp_path):
    data = {"format": "cifar10", "crop": "pad", "size": 32, "test_resize": 32, "test_size": 32}
    cfg = ClassificationConfig.model_validate({"data": data, "model": {"mean_image": "auto"}})
    assert not may_change(cfg, "model.mean_image", tmp_path)


def test_all_differences_are_listed_at_once_and_what_may_change_is_logged(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    cfg = Config.model_validate({"log_period": 7, "model": {"fpn_channels": 128}, "seed": 1})
    with pytest.raises(ConfigError) as raised:
        check_same_config(saved_by(Config()), cfg, tmp_path)
    text = str(raised.value)
    assert "\n  seed: 0 in the checkpoint, 1 now\n" in text
    assert "\n  model.fpn_channels: 256 in the checkpoint, 128 now" in text
    assert "log_period" not in text
    check_same_config(saved_by(Config()), Config(log_period=7), tmp_path)
    assert caplog.messages == ["log_period: 20 before, 7 from now on"]


IDENTITY = {
    "class_names": ("cat", "dog"),
    "category_ids": (1, 5),
    "dataset": {"train": "a", "val": "b"},
}
# As a checkpoint returns it.
SAVED = IDENTITY | {"class_names": ["cat", "dog"], "category_ids": [1, 5]}


def test_the_same_data_are_the_same(tmp_path):
    about = SAVED | {"config": {}, "generators": [1, 2]}
    assert check_same_data(about, IDENTITY, tmp_path, plateau=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ("cat", "dog", "cow")}, "on 2 classes, but the annotations have 3"),
        ({"class_names": ("dog", "cat")}, "class_names was .*'cat', 'dog'.*'dog', 'cat'"),
        ({"category_ids": (1, 6)}, "category_ids was"),
        ({"dataset": {"train": "x", "val": "b"}}, "dataset was"),
        ({"dataset": {"train": "x", "val": "y"}}, "dataset was"),
        ({"dataset": "x"}, "dataset was"),
        ({"mean_image": "x"}, "mean_image was None, now it is x"),
    ],
)
def test_other_classes_and_training_data_are_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        check_same_data(SAVED, IDENTITY | change, tmp_path, plateau=False)


def test_mended_validation_data_are_accepted_where_no_learning_rate_depends_on_them(tmp_path):
    mended = IDENTITY | {"dataset": {"train": "a", "val": "y"}}
    assert not check_same_data(SAVED, mended, tmp_path, plateau=False)
    with pytest.raises(DataError, match="dataset was"):
        check_same_data(SAVED, mended, tmp_path, plateau=True)
