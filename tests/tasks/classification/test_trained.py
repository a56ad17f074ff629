from dataclasses import replace
from pathlib import Path

import pytest
import tiny_classifier
import torch
from safetensors.torch import load_file

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.engine.train import train_task
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.tasks.classification.trained import (
    in_classes_of_images,
    load_trained_classifier,
)
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import read_metadata, save_weights

MEAN_IMAGE = {"mean_image": "auto"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return tiny_classifier.write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def runs(images, tmp_path_factory):
    """Two runs that differ in their seed; the first subtracts a mean image."""
    folder = tmp_path_factory.mktemp("runs")
    first = tiny_classifier.config(images, folder / "first", model=MEAN_IMAGE)
    second = tiny_classifier.config(images, folder / "second", seed=1)
    return train_task(ClassificationTask, first), train_task(ClassificationTask, second)


def test_a_file_of_ours_knows_its_network_and_its_pixels(images, runs):
    cfg = tiny_classifier.config(images, Path("unused"), model={"name": "resnet18"})
    trained = load_trained_classifier(runs[0] / "model.safetensors", cfg)
    assert trained.class_names == tiny_classifier.CLASSES
    assert trained.model.network.name == "resnet20_cifar" and not trained.model.training
    saved = load_file(runs[0] / "model.safetensors")
    assert torch.equal(trained.model.pixel_mean, saved["pixel_mean"])
    assert torch.equal(trained.model.network.fc.weight, saved["fc.weight"])


def test_weights_of_others_are_built_as_the_configuration_says(images, tmp_path):
    net = create_classifier("resnet18", num_classes=2)
    torch.save(net.state_dict(), tmp_path / "theirs.pth")
    pixels = {"channel_order": "RGB", "mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0)}
    model = {"name": "resnet18", "pixels": pixels}
    cfg = tiny_classifier.config(images, tmp_path, model=model)
    trained = load_trained_classifier(tmp_path / "theirs.pth", cfg)
    assert trained.class_names is None
    assert trained.model.pixel_mean.flatten().tolist() == [1.0, 2.0, 3.0]
    assert torch.equal(trained.model.network.fc.weight, net.fc.weight)


def test_weights_of_others_are_read_as_their_card_says(images, tmp_path):
    net = create_classifier("resnet18", num_classes=2)
    mean, std = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    card = WeightsCard(arch="resnet18", channel_order="BGR", mean=mean, std=std)
    save_weights(net, tmp_path / "theirs.safetensors", card)
    cfg = tiny_classifier.config(images, tmp_path, model={"name": "resnet18"})
    trained = load_trained_classifier(tmp_path / "theirs.safetensors", cfg)
    assert trained.model.channel_order == "BGR"
    assert trained.model.pixel_mean.flatten().tolist() == [1.0, 2.0, 3.0]
    other = {"name": "resnet18", "pixels": {"channel_order": "RGB"}}
    with pytest.raises(ConfigError, match="channel_order: got 'RGB', but the card says 'BGR'"):
        cfg = tiny_classifier.config(images, tmp_path, model=other)
        load_trained_classifier(tmp_path / "theirs.safetensors", cfg)


def test_outputs_are_matched_with_the_images_by_name(images, runs):
    cfg = tiny_classifier.config(images, Path("unused"))
    file = runs[0] / "model.safetensors"
    batch = torch.randint(0, 256, (3, 3, 12, 12), dtype=torch.uint8)
    expected = load_trained_classifier(file, cfg).model.scores(batch)
    for names, order in (
        (("dark", "light"), [0, 1]),
        (("light", "dark"), [1, 0]),
        (("light",), [1, 0]),  # a subset; what the images do not show comes last
    ):
        member = load_trained_classifier(file, cfg)
        assert in_classes_of_images([member], names, [file]) == tuple(
            ("dark", "light")[place] for place in order
        )
        torch.testing.assert_close(member.model.scores(batch), expected[:, order])


def test_other_classes_are_refused_with_both_lists(images, runs):
    cfg = tiny_classifier.config(images, Path("unused"))
    file = runs[0] / "model.safetensors"
    member = load_trained_classifier(file, cfg)
    message = r"not have 2 classes of the images: a, b\n  .*: dark, light\n  expected: a, b, light"
    with pytest.raises(WeightsError, match=message):
        in_classes_of_images([member], ("a", "b", "light"), [file])
    anonymous = replace(member, class_names=None)
    assert in_classes_of_images([anonymous], ("a", "b"), [file]) == ("a", "b")
    with pytest.raises(WeightsError, match=r"2 without names\n  expected: a, b, c"):
        in_classes_of_images([anonymous], ("a", "b", "c"), [file])
    other = replace(member, class_names=("dark", "dusk"))
    with pytest.raises(WeightsError, match="other classes than the first member"):
        in_classes_of_images([member, other], ("dark",), [file, file])


def test_what_is_no_classifier_is_said(images, runs, tmp_path):
    cfg = tiny_classifier.config(images, tmp_path)
    with pytest.raises(
        WeightsError, match="not a classifier: expected fc.weight .* no such tensor"
    ):
        load_trained_classifier(runs[0] / "backbone.safetensors", cfg)
    tensors = load_file(runs[0] / "model.safetensors")
    card = read_metadata(runs[0] / "model.safetensors") | {"config": "{}x"}
    save_weights(tensors, tmp_path / "torn.safetensors", card)
    with pytest.raises(WeightsError, match="cannot read its config: Invalid JSON"):
        load_trained_classifier(tmp_path / "torn.safetensors", cfg)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_a_mean_image_comes_back_as_it_was_subtracted(images, tmp_path, order):
    model = MEAN_IMAGE | {"pixels": {"channel_order": order}}
    cfg = tiny_classifier.config(images, tmp_path / "run", model=model)
    settled = ClassificationTask.settle(cfg).cfg
    task = ClassificationTask(settled, torch.device("cpu"))
    file = tmp_path / "model.safetensors"
    save_weights(task.weights(), file, task.card(None))
    found = load_trained_classifier(file, cfg).model
    assert torch.equal(found.pixel_mean, task.model.pixel_mean)
    batch = torch.randint(0, 256, (2, 3, tiny_classifier.SIDE, tiny_classifier.SIDE))
    assert torch.equal(found.normalize(batch), task.model.normalize(batch))


def test_pixels_that_came_with_the_initial_weights_are_kept(images, tmp_path):
    """A configuration that left them to the weights once gave torchvision's for the result."""
    net = create_classifier("resnet20_cifar", num_classes=2)
    card = WeightsCard(channel_order="BGR", mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    save_weights(net, tmp_path / "initial.safetensors", card)
    model = {"weights": str(tmp_path / "initial.safetensors")}
    cfg = tiny_classifier.config(images, tmp_path / "run", model=model)
    output = train_task(ClassificationTask, cfg)
    for asked in (cfg, tiny_classifier.config(images, tmp_path / "run")):
        found = load_trained_classifier(output / "model.safetensors", asked).model
        assert found.channel_order == "BGR"
        assert found.pixel_mean.flatten().tolist() == [1.0, 2.0, 3.0]
