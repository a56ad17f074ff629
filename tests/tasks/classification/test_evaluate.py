"""Classifiers on a split: probabilities averaged, errors counted, losses summed over ranks."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.classification.image_classifier import ImageClassifier
from resnet_backbone.classification.testing import TenCrop
from resnet_backbone.errors import Interrupted
from resnet_backbone.evaluation.classification import ClassificationEvaluator
from resnet_backbone.structures import ImageBatch
from resnet_backbone.tasks.classification.evaluate import evaluate_classifier
from resnet_backbone.utils import distributed

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c", "d", "e", "f", "g")


def member(seed=0):
    torch.manual_seed(seed)
    network = create_classifier("resnet20_cifar", num_classes=len(CLASSES))
    nn.init.normal_(network.fc.weight, std=0.1)  # with opinions, but none that is certain
    return ImageClassifier(
        network, F.cross_entropy, pixel_mean=torch.full((3,), 127.0), pixel_std=(64.0,) * 3
    ).eval()


def images(count=11, side=17):
    generator = torch.Generator().manual_seed(9)
    pixels = torch.randint(0, 256, (count, 3, side, side + 2), generator=generator)
    return ImageBatch(
        pixels.to(torch.uint8),
        torch.arange(count) % len(CLASSES),
        torch.arange(count),
        [f"image {number}" for number in range(count)],
    )


def in_batches(data, size):
    parts = range(0, len(data), size)
    return [
        ImageBatch(
            *(getattr(data, name)[at : at + size] for name in ("images", "labels", "keys")),
            data.image_ids[at : at + size],
        )
        for at in parts
    ]


def run(members, loader, **options):
    return evaluate_classifier(members, loader, ClassificationEvaluator(CLASSES), CPU, **options)


@torch.no_grad()
def by_hand(members, data):
    """Mean probabilities, one image at a time."""
    rows = []
    for image in data.images:
        votes = [each.network(each.normalize(image[None])).softmax(1)[0] for each in members]
        rows.append(sum(votes) / len(votes))
    return torch.stack(rows)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [1, 4, 11])
def test_errors_and_loss_are_those_of_the_mean_probabilities(count, size):
    members, data = [member(seed) for seed in range(count)], images()
    found = run(members, in_batches(data, size))
    probabilities = by_hand(members, data)
    wrong = (probabilities.argmax(1) != data.labels).double().mean()
    assert found.metrics["classification"]["top1_error"] == float(wrong)
    assert found.metrics["classification"]["images"] == 11
    loss = -probabilities.gather(1, data.labels[:, None]).log().mean()
    # The same network on batches of another size: float32 rounding.
    assert found.loss["loss"] == pytest.approx(float(loss), rel=1e-4)
    by_class = {
        name: float((probabilities.argmax(1) != data.labels)[data.labels == label].double().mean())
        for label, name in enumerate(CLASSES)
    }
    assert found.per_class == {"top1_error": by_class}


def test_an_ensemble_is_not_its_first_member():
    members, data = [member(0), member(1)], images()
    alone, both = run(members[:1], in_batches(data, 4)), run(members, in_batches(data, 4))
    assert alone.loss != both.loss


def test_views_of_whole_images_are_averaged():
    """Of one image per batch, of any size."""
    model, testing = member(), TenCrop(resize=16, size=12)
    data = [*in_batches(images(3, side=17), 1), *in_batches(images(2, side=31), 1)]
    for number, batch in enumerate(data):
        data[number] = ImageBatch(batch.images, batch.labels, batch.keys, [f"image {number}"])
    found = run([model], data, testing=testing)
    loss = 0.0
    with torch.no_grad():
        for batch in data:
            views = torch.stack(testing.views(batch.images[0]))
            votes = model.scores(views).softmax(1).mean(0)
            loss -= float(votes[batch.labels[0]].log()) / len(data)
    assert found.loss["loss"] == pytest.approx(loss, rel=1e-4)
    assert found.metrics["classification"]["images"] == 5


def test_a_right_class_that_is_impossible_costs_a_finite_loss():
    model = member()
    with torch.no_grad():
        model.network.fc.weight.zero_()
        model.network.fc.bias.copy_(torch.tensor([0.0, 1e4, 0, 0, 0, 0, 0]))
    data = images(1)  # of class 0
    assert run([model], [data]).loss["loss"] == pytest.approx(-math.log(1e-12), rel=1e-6)


def test_the_evaluator_is_reset_first_and_explains():
    evaluator, data = ClassificationEvaluator(CLASSES), images(7)
    evaluator.process(torch.eye(7), torch.arange(7), [f"earlier {number}" for number in range(7)])
    model = member()
    with torch.no_grad():
        model.network.fc.weight.zero_()
        model.network.fc.bias.copy_(torch.arange(7.0))
    found = evaluate_classifier([model], [data], evaluator, CPU)
    assert found.metrics["classification"] == {
        "top1_error": pytest.approx(6 / 7),
        "top5_error": pytest.approx(2 / 7),
        "images": 7,
    }
    assert "guessing among 7 classes" in found.explanation


@pytest.mark.parametrize("training", [True, False])
def test_modes_are_restored_and_no_gradients_left(training):
    members = [member(0).train(training), member(1)]
    run(members, [images(2)])
    with pytest.raises(Interrupted, match="after 1 of 2 batches"):
        answers = iter([False, True])
        run(members, in_batches(images(4), 2), should_stop=lambda: next(answers))
    assert [each.training for each in members] == [training, False]
    assert all(p.grad is None for each in members for p in each.parameters())


def test_statistics_are_not_those_of_the_batch():
    model, data = member().train(), images(6)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loss = run([model], [data]).loss["loss"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert loss == pytest.approx(run([model.eval()], in_batches(data, 1)).loss["loss"], rel=1e-4)


def test_the_loss_is_the_mean_over_the_images_of_all_ranks(monkeypatch):
    """The other rank had three images, of loss 5 each."""

    def gathered(value):
        return [value, (15.0, 3)] if isinstance(value, tuple) else [value]

    monkeypatch.setattr(distributed, "all_gather_object", gathered)
    model, data = member(), images(5)
    own = -by_hand([model], data).gather(1, data.labels[:, None]).log().sum()
    assert run([model], [data]).loss["loss"] == pytest.approx((float(own) + 15) / 8, rel=1e-4)
