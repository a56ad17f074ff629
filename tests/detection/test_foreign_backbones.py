"""A detector on a backbone that is not ours, from the YAML to the maps of the pyramid."""

import sys

import pytest
import torch

from resnet_backbone.backbone import variants
from resnet_backbone.config.load import load_config
from resnet_backbone.detection.build import build_detector

MODULE = """
from torch import nn

import resnet_backbone as rb


@rb.BACKBONES.register
class Columns(nn.Module):
    def __init__(self, out_features):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.halves = nn.ModuleList(nn.Conv2d(8, 8, 2, stride=2) for _ in range(3))

    def forward(self, x):
        maps = [self.stem(x)]
        for half in self.halves:
            maps.append(half(maps[-1].relu()))
        return dict(zip(("res2", "res3", "res4", "res5"), maps))

    def feature_specs(self):
        return {f"res{index + 2}": rb.FeatureSpec(8, 4 << index) for index in range(4)}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's folder as the current one; what it registers is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(variants.BACKBONES, "_entries", {**variants.BACKBONES._entries})
    yield tmp_path
    sys.modules.pop("nets_of_mine", None)


def detector(project, text):
    (project / "run.yaml").write_text(text)
    return build_detector(load_config(project / "run.yaml"), num_classes=3)


def maps_of(model):
    return [tuple(each.shape[1:]) for each in model.neck(model.backbone(torch.zeros(1, 3, 64, 96)))]


PYRAMID = [(256, 16, 24), (256, 8, 12), (256, 4, 6), (256, 2, 3), (256, 1, 2)]


def test_a_users_own_module_is_imported_and_built(project):
    (project / "nets_of_mine.py").write_text(MODULE)
    model = detector(
        project, "imports: [nets_of_mine]\nmodel: {backbone: {name: Columns, freeze_at: 0}}\n"
    )
    assert type(model.backbone).__name__ == "Columns"
    assert maps_of(model) == PYRAMID


def test_timms_network_is_built_and_frozen(project):
    pytest.importorskip("timm")
    model = detector(project, "model: {backbone: {name: timm/convnext_atto, freeze_at: 2}}\n")
    assert maps_of(model) == PYRAMID
    frozen = {n.split(".")[1] for n, p in model.backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"stem_0", "stem_1", "stages_0"}
