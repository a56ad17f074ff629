"""Other frameworks' names, held against our schemas and metrics."""

import pytest

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.utils.synonyms import KEYS, METRICS, keys_for, metrics_for
from resnet_backbone.utils.trees import leaves

OURS = {
    key for schema in (Config, ClassificationConfig) for key, _ in leaves(schema().model_dump())
}


def test_every_name_stands_for_keys_that_exist_and_is_none_of_ours():
    assert KEYS.keys() <= OURS
    for key, names in KEYS.items():
        assert key not in names.split() and key.rpartition(".")[2] not in names.split()
        assert names == names.lower() and "-" not in names
        assert all(key in keys_for(name, OURS) for name in names.split())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("learning_rate", ["solver.lr"]),
        ("Learning-Rate", ["solver.lr"]),
        ("BASE_LR", ["solver.lr"]),
        ("IMS_PER_BATCH", ["solver.batch_size"]),
        ("num_workers", ["data.workers"]),
        ("STEPS", ["solver.max_iter", "solver.milestones"]),
        ("lr", []),
        ("", []),
    ],
)
def test_a_name_is_known_in_any_case(name, expected):
    assert keys_for(name, OURS) == expected


def test_keys_of_the_other_task_are_left_out():
    assert keys_for("img_size", {"data.size"}) == ["data.size"]
    assert keys_for("img_size", {"data.min_sizes", "data.max_size"}) == [
        *("data.min_sizes", "data.max_size"),
    ]


RUN = ["bbox/AP", "bbox/AP50", "segm/AP", "segm/AP50", "loss", "loss_cls", "val_loss", "lr"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("segm/ap", ["segm/AP"]),
        ("SEGM_AP", ["segm/AP"]),
        ("bbox/ap50", ["bbox/AP50"]),
        ("bbox_mAP_50", ["bbox/AP50"]),
        ("mAP", ["bbox/AP", "segm/AP"]),
        ("mask/AP", ["segm/AP"]),
        ("val/loss", ["val_loss"]),
        ("train_loss", ["loss"]),
        ("learning_rate", ["lr"]),
        ("acc", []),
        ("", []),
    ],
)
def test_metrics_that_a_run_has_are_known_by_other_names(name, expected):
    assert metrics_for(name, RUN) == expected


def test_metrics_of_classifiers():
    known = ["classification/top1_error", "classification/top5_error", "error"]
    for name in ("top1", "top-1", "acc@1", "accuracy", "Top1_Error"):
        assert metrics_for(name, known) == known[:1]
    assert METRICS.keys() >= set(known)
