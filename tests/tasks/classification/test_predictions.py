import torch

from resnet_backbone.tasks.classification.classification import Classification
from resnet_backbone.tasks.classification.predictions import ClassPredictions

FOUND = Classification(
    image_id=9,
    image=torch.full((3, 47, 61), 200, dtype=torch.uint8),
    probabilities=torch.tensor([0.25, 0.123456789, 0.625]),
    labels=torch.tensor([2, 1]),
    class_names=("lynx", "puma", "tabby"),
)


def test_an_image_has_its_classes():
    form = ClassPredictions(FOUND.class_names)
    of_image, entries = form.entries(FOUND)
    assert of_image == {
        "classes": [
            {"name": "tabby", "score": 0.625, "class_index": 2},
            {"name": "puma", "score": 0.12346, "class_index": 1},
        ]
    }
    assert form.content([of_image], entries) == {
        "images": [of_image],
        "class_names": ["lynx", "puma", "tabby"],
    }
    assert form.draw(FOUND).tobytes() == FOUND.draw().tobytes()
