"""The table of detectron2's keys: complete, unambiguous, and true to detectron2's defaults."""

import pytest

from resnet_backbone.config.detectron2_keys import ALWAYS, KEYS, MASKS
from resnet_backbone.config.schema import Config


def targets():
    return [key.target for key in KEYS.values() if key.target]


def test_no_two_keys_are_one_of_ours_and_all_of_ours_exist():
    assert len(set(targets())) == len(targets())
    tree = Config().model_dump()
    for target in targets():
        value = tree
        for part in target.split("."):
            value = value[part]


def test_every_key_is_translated_fixed_or_has_a_reason():
    for name, key in KEYS.items():
        assert (key.target is not None) + bool(key.accepted) + bool(key.reason) == 1, name
        assert set(key.accepted) <= {ALWAYS, MASKS, "fpn", "c4", "dc5"}


def test_detectron2s_defaults_are_honoured_where_every_model_reads_them():
    for name, key in KEYS.items():
        assert key.default in key.accepted.get(ALWAYS, (key.default,)), name


CONVERTED = sorted(name for name, key in KEYS.items() if key.target is not None)


def config_with(target, value):
    """Our configuration with one of its keys set, as C4, which takes one list of anchor sizes."""
    tree = {"model": {"architecture": "c4", "rpn": {"anchors": {"sizes": ((32.0,),)}}}}
    section = tree
    *above, last = target.split(".")
    for name in above:
        section = section.setdefault(name, {})
    section[last] = value
    return Config.model_validate(tree)


def value_at(cfg, target):
    for name in target.split("."):
        cfg = getattr(cfg, name)
    return cfg


@pytest.mark.parametrize("name", CONVERTED)
def test_what_a_value_becomes_is_one_of_our_keys(name):
    """The default, and all of those that a table has."""
    key = KEYS[name]
    if callable(key.convert) or key.convert is None:
        values = [key.convert(key.default) if key.convert else key.default]
    else:
        assert key.default in key.convert
        values = key.convert.values()
    for value in values:
        assert value_at(config_with(key.target, value), key.target) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SEED", -1, 0),
        ("SEED", 7, 7),
        ("MODEL.WEIGHTS", "", None),
        ("MODEL.WEIGHTS", "a.pkl", "a.pkl"),
        ("MODEL.ANCHOR_GENERATOR.SIZES", (32, 64), ((32, 64),)),
        ("MODEL.ANCHOR_GENERATOR.SIZES", ((32,), (64,)), ((32,), (64,))),
        ("MODEL.ANCHOR_GENERATOR.SIZES", (), ((),)),
        ("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", (0.5, 1), (0.5, 1)),
        ("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", ((0.5, 1), (0.5, 1)), (0.5, 1)),
        ("MODEL.ROI_HEADS.IOU_THRESHOLDS", (0.6,), 0.6),
    ],
)
def test_converted_values(name, value, expected):
    assert KEYS[name].convert(value) == expected


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", ((0.5,), (1,)), "one list, the same for all feat"),
        ("MODEL.ROI_HEADS.IOU_THRESHOLDS", (0.4, 0.5), "one entry"),
        ("MODEL.ROI_HEADS.IOU_THRESHOLDS", (), "one entry"),
    ],
)
def test_values_that_cannot_be_converted_say_what_could(name, value, message):
    with pytest.raises(ValueError, match=message):
        KEYS[name].convert(value)


# --- against detectron2 itself ---


@pytest.fixture(scope="session")
def detectron2():
    return pytest.importorskip(
        "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
    )


def leaves(node, above=()):
    for name, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, name))
        else:
            yield ".".join((*above, name)), value


def as_tuples(value):
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value


def test_the_table_has_all_keys_of_detectron2_with_their_defaults(detectron2):
    from detectron2.config import get_cfg

    cfg = get_cfg()
    cfg.MODEL.pop("RESNET_BACKBONE", None)  # which our plug-in adds where it was imported
    theirs = dict(leaves(cfg))
    assert set(theirs) == set(KEYS)
    off = ("KEYPOINT_HEAD", "SEM_SEG", "PANOPTIC", "RETINANET", "CASCADE")
    for name, default in theirs.items():
        if not any(part in name for part in off):
            assert KEYS[name].default == as_tuples(default), name
