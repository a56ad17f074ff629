import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.classification.image_classifier import ImageClassifier
from resnet_backbone.structures import ImageBatch

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)


def classifier(**changes) -> ImageClassifier:
    settings = dict(pixel_mean=torch.tensor(MEAN), pixel_std=STD) | changes
    network = create_classifier("resnet20_cifar", num_classes=5)
    return ImageClassifier(network, F.cross_entropy, **settings)


def batch(count: int = 6, side: int = 16) -> ImageBatch:
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    labels = torch.arange(count) % 5
    return ImageBatch(images, labels, torch.arange(count), [str(n) for n in range(count)])


def test_pixels_are_normalised_once():
    images = batch().images
    expected = torch.stack([(images[:, c].float() - MEAN[c]) / STD[c] for c in range(3)], 1)
    torch.testing.assert_close(classifier().normalize(images), expected)


def test_bgr_networks_see_swapped_channels_and_their_own_mean():
    images = batch().images
    swapped = classifier(channel_order="BGR").normalize(images)
    expected = classifier().normalize(images.flip(1))
    torch.testing.assert_close(swapped, expected)


def test_a_mean_image_is_subtracted_pixel_by_pixel_and_resized_for_other_sizes():
    mean = torch.rand(3, 16, 16) * 255
    model = classifier(pixel_mean=mean, pixel_std=(1.0, 1.0, 1.0))
    images = batch().images
    torch.testing.assert_close(model.normalize(images), images - mean)
    flat = classifier(pixel_mean=torch.full((3, 16, 16), 50.0), pixel_std=(1.0, 1.0, 1.0))
    larger = batch(side=24).images
    torch.testing.assert_close(flat.normalize(larger), larger - 50.0)


def test_training_gives_loss_and_error_and_evaluation_scores():
    model, data = classifier().eval(), batch()
    scores = model(data)
    assert torch.equal(scores, model.network(model.normalize(data.images)))
    values = model.losses(data)
    torch.testing.assert_close(values["loss_cls"], F.cross_entropy(scores, data.labels))
    assert values["error"] == (scores.argmax(1) != data.labels).float().mean()
    assert values["loss_cls"].requires_grad and not values["error"].requires_grad
    assert set(model.train()(data)) == {"loss_cls", "error"}


def test_mixed_labels_are_what_is_learned():
    model, data = classifier().eval(), batch()
    targets = F.one_hot(data.labels, 5).float() * 0.7 + 0.06
    mixed = ImageBatch(data.images.float(), data.labels, data.keys, data.image_ids, targets)
    expected = F.cross_entropy(model(data), targets)
    torch.testing.assert_close(model.losses(mixed)["loss_cls"], expected)


def test_only_the_network_has_weights():
    model = classifier(pixel_mean=torch.zeros(3, 4, 4))
    assert all(name.startswith("network.") for name in model.state_dict())
    assert isinstance(model.network, nn.Module)


def test_batches_move_and_count():
    data = batch()
    assert len(data) == 6
    moved = data.to("cpu")
    assert torch.equal(moved.images, data.images) and moved.targets is None
    with pytest.raises(AttributeError):
        data.labels = None
