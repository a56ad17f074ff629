"""A weight file is read whole once, however many ask what is in it."""

import pytest
import tiny_classifier
import torch
from tiny_rcnn import tiny_config

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.create import create_backbone
from resnet_backbone.detection.build import build_detector
from resnet_backbone.detection.settle import settle_detector
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.tasks.classification.trained import load_trained_classifier
from resnet_backbone.tasks.detection.task import DetectionTask
from resnet_backbone.tasks.detection.trained import load_trained
from resnet_backbone.weights import files
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.presets import TORCHVISION

CPU = torch.device("cpu")
PIXELS = {"channel_order": "RGB", "mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)}


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were read whole, in order."""
    names = []
    real = files.read_content

    def counting(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(files, "read_content", counting)
    return names


def write(path, network):
    if path.suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save_weights(network, path, TORCHVISION)
    return str(path)


def detector_config(**model):
    cfg = tiny_config()
    return type(cfg).model_validate(cfg.model_dump() | {"model": cfg.model.model_dump() | model})


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("key", ["model.weights", "model.backbone.weights"])
@pytest.mark.parametrize("architecture", ["fpn", "c4", "dc5"])
def test_a_detectors_start(reads, tmp_path, suffix, key, architecture):
    name = tiny_config().model.backbone.name
    source = write(tmp_path / f"w{suffix}", create_backbone(name, norm="BN"))
    model = {"architecture": architecture, "pixels": PIXELS if suffix == ".pth" else {}}
    model["rpn"] = {"anchors": {"sizes": [[32.0]]}}
    if key == "model.weights":
        model["weights"] = source
    else:
        model["backbone"] = tiny_config().model.backbone.model_dump() | {"weights": source}
    settled = DetectionTask.settle(detector_config(**model))
    build_detector(settled.cfg, 3, weights=settled.weights)
    assert reads == [f"w{suffix}"]


@pytest.mark.parametrize("architecture", ["fpn", "c4", "dc5"])
def test_build_detector_alone(reads, tmp_path, architecture):
    name = tiny_config().model.backbone.name
    source = write(tmp_path / "w.safetensors", create_backbone(name, norm="BN"))
    backbone = tiny_config().model.backbone.model_dump() | {"weights": source}
    model = {"architecture": architecture, "backbone": backbone}
    build_detector(detector_config(**model, rpn={"anchors": {"sizes": [[32.0]]}}), 3)
    assert reads == ["w.safetensors"]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_classifiers_start(reads, tmp_path, suffix):
    net = create_classifier("resnet20_cifar", num_classes=2)
    model = {
        "name": "resnet20_cifar",
        "weights": write(tmp_path / f"w{suffix}", net),
        "pixels": PIXELS if suffix == ".pth" else {},
    }
    images = tiny_classifier.write_images(tmp_path / "images")
    cfg = tiny_classifier.config(images, tmp_path / "run", model=model)
    settled = ClassificationTask.settle(cfg)
    ClassificationTask(settled.cfg, CPU, settled.weights)
    assert reads == [f"w{suffix}"]


def test_trained_models(reads, tmp_path):
    settled = settle_detector(tiny_config())
    detector = build_detector(settled, 3)
    text = {"config": settled.model_dump_json(), "class_names": '["a", "b", "c"]'}
    save_weights(detector, tmp_path / "detector.safetensors", text)
    load_trained(tmp_path / "detector.safetensors")
    assert reads == ["detector.safetensors"]
    net = create_classifier("resnet20_cifar", num_classes=2)
    source = write(tmp_path / "classifier.safetensors", net)
    cfg = tiny_classifier.config(tmp_path, tmp_path / "run")
    load_trained_classifier(source, cfg)
    assert reads == ["detector.safetensors", "classifier.safetensors"]
