import pytest
import torch

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.errors import DataError
from resnet_backbone.paper import measure
from resnet_backbone.paper.gradients import gradient_norms
from resnet_backbone.paper.responses import layer_responses


def test_all_images_for_responses_and_one_batch_for_gradients(monkeypatch):
    monkeypatch.setattr(measure, "BATCH", 4)
    network = create_classifier("resnet20_cifar", num_classes=3)
    images, labels = torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    found = measure.measure_run(network, images, labels)
    responses = layer_responses(network, [images[:4], images[4:]])
    assert found.responses == [(response.name, response.std) for response in responses]
    gradients = gradient_norms(network, images[:4], labels[:4])
    assert found.gradients == [(gradient.name, gradient.norm) for gradient in gradients]


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (2, 3)])
def test_images_and_labels_must_match(images, labels):
    network = create_classifier("resnet20_cifar", num_classes=3)
    with pytest.raises(DataError, match=f"got {images} images and {labels} labels"):
        measure.measure_run(
            network, torch.zeros(images, 3, 8, 8), torch.zeros(labels, dtype=torch.int64)
        )
