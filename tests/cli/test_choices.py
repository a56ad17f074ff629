from resnet_backbone.cli.choices import CONVERT_TARGETS, EXHIBITS
from resnet_backbone.paper import reproduce
from resnet_backbone.weights.convert import OURS
from resnet_backbone.weights.targets import TARGETS


def test_commands_offer_all_that_there_is():
    assert CONVERT_TARGETS == (*TARGETS, OURS)
    assert EXHIBITS == tuple(exhibit.key for exhibit in reproduce.EXHIBITS)
