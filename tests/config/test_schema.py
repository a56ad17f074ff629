"""The detector's configuration: bounds, and keys that must fit each other."""

import pytest
from pydantic import ValidationError
from refused_configs import errors_of

from resnet_backbone.config.load import load_config
from resnet_backbone.config.schema import (
    AnchorConfig,
    BackboneConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    RoIConfig,
    RPNConfig,
    ShapesConfig,
    SplitConfig,
)


@pytest.mark.parametrize(
    ("section", "key", "allowed", "refused"),
    [
        (BackboneConfig, "freeze_at", (0, 5), (-1, 6)),
        (BackboneConfig, "output_stride", (8, 16, 32), (4, 64)),
        (BackboneConfig, "stochastic_depth", (0, 0.9), (1, -0.1)),
        (BackboneConfig, "deformable", ((), ("res3", "res5")), (("res1",), ("stem",))),
        (BackboneConfig, "norm", ("BN", "FrozenBN", "SyncBN", "GN"), ("LN", None)),
        (BackboneConfig, "norm_eps", (None, 0, 1e-3), (-1e-3,)),
        (BackboneConfig, "stride_in_1x1", (None, True, False), ("yes please",)),
        (AnchorConfig, "sizes", (((8.0, 16.0),),), ((), ((),), ((0.0,),))),
        (AnchorConfig, "aspect_ratios", ((2.0,),), ((), (0.0,))),
        (RPNConfig, "iou_thresholds", ((0.3, 0.7), (0.5, 0.5)), ((0.7, 0.3), (0.3, 1.1))),
        (RPNConfig, "min_box_size", (0, 1.5), (-1,)),
        (RPNConfig, "positive_fraction", (0, 1), (1.1,)),
        (RPNConfig, "post_nms_topk_test", (1,), (0,)),
        (RoIConfig, "box_weights", ((1.0, 1.0, 1.0, 1.0),), ((1.0,) * 3, (0.0,) * 4)),
        (RoIConfig, "box_fc_layers", (0, 2), (-1,)),
        (RoIConfig, "score_threshold", (0, 1), (-0.1, 1.1)),
        (ModelConfig, "num_classes", (None, 1), (0,)),
        (ModelConfig, "architecture", ("fpn", "c4", "dc5"), ("FPN",)),
        (DataConfig, "min_sizes", ((640,), (800, 640)), ((), (0,))),
        (DataConfig, "flip", (0, 1), (1.5,)),
        (DataConfig, "workers", (0,), (-1,)),
        (DataConfig, "exif", ("auto", "apply", "ignore"), ("no",)),
        (ShapesConfig, "image_size", (64, 1024), (63, 1025)),
        (ShapesConfig, "empty_fraction", (0, 1), (-0.1,)),
        (EvaluationConfig, "pictures", (0,), (-1,)),
    ],
)
def test_values_have_bounds(section, key, allowed, refused):
    needed = {"rpn": {"anchors": {"sizes": ((8.0,),)}}} if section is ModelConfig else {}
    for value in allowed:
        assert getattr(section(**needed | {key: value}), key) == value
    for value in refused:
        with pytest.raises(ValidationError, match=key):
            section(**needed | {key: value})


def test_a_split_has_images_annotations_and_perhaps_a_limit():
    assert SplitConfig(images="a", annotations="b").limit is None
    for values in ({"images": "a"}, {"annotations": "b"}):
        with pytest.raises(ValidationError, match="Field required"):
            SplitConfig(**values)
    with pytest.raises(ValidationError, match="greater than 0"):
        SplitConfig(images="a", annotations="b", limit=0)


@pytest.mark.parametrize("architecture", ["fpn", "c4", "dc5"])
@pytest.mark.parametrize("count", range(1, 8))
def test_there_is_one_list_of_anchor_sizes_or_one_for_each_map(architecture, count):
    """P2 to P6 make five maps; C4 and DC5 have one."""
    sizes = tuple((8.0 * 2**level,) for level in range(count))
    model = {"architecture": architecture, "rpn": {"anchors": {"sizes": sizes}}}
    if count in ((1, 5) if architecture == "fpn" else (1,)):
        assert ModelConfig(**model).rpn.anchors.sizes == sizes
    else:
        with pytest.raises(ValidationError, match=f"has {count} lists, expected .*{architecture}"):
            ModelConfig(**model)


def test_options_of_a_users_backbone_are_any_mapping_and_each_configurations_own():
    options = {"width": 3, "names": ["a"], "nested": {"b": None}}
    assert BackboneConfig(options=options).options == options
    assert BackboneConfig().options is not BackboneConfig().options
    with pytest.raises(ValidationError, match="options"):
        BackboneConfig(options=3)


def test_another_task_is_another_schema():
    with pytest.raises(ValidationError, match="Input should be 'detection'"):
        Config(task="classification")
    assert Config.model_validate({"model": {"backbone": {"norm": "GN"}}}).norm == "GN"


def test_anchors_must_fit_the_architecture():
    (message,) = errors_of("coco_frcnn_r50", ["model.architecture=dc5"])
    assert "model.rpn.anchors.sizes has 5 lists, expected 1 for architecture dc5" in message
    (message,) = errors_of("coco_frcnn_r50", ["model.rpn.anchors.sizes=[[8], [16]]"])
    assert "model.rpn.anchors.sizes has 2 lists, expected 1 or 5 for architecture fpn" in message
    load_config("coco_frcnn_r50", ["model.rpn.anchors.sizes=[[32, 64]]"])
