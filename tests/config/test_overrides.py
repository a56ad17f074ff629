from resnet_backbone.config.overrides import explicit_keys


def test_keys_are_found_singly_and_in_sections():
    overrides = ("solver.lr=1", " seed = 2", "model={mask: true, rpn: {nms_threshold: 0.5}}")
    assert explicit_keys(overrides) == {
        *("solver.lr", "seed", "model", "model.mask", "model.rpn.nms_threshold")
    }
    assert explicit_keys(()) == frozenset()
