import pytest
import tiny_classifier
import torch
from torchvision.transforms.v2 import functional as F

from resnet_backbone.classification.testing import MultiScale, TenCrop
from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.tasks.classification.views import test_crop as crop_of
from resnet_backbone.tasks.classification.views import testing_of as method_of

IMAGE = torch.arange(3 * 37 * 53, dtype=torch.int64).reshape(3, 37, 53).remainder(251).byte()
FILES = {"format": "folders", "crop": "scale_jitter", "short_side": (12, 16)}
SIZES = {"test_resize": 13, "test_size": 11, "interpolation": "bicubic", "size": 9}


def config(data, **evaluation):
    return ClassificationConfig.model_validate({"data": data, "evaluation": evaluation})


def test_images_of_files_are_resized_and_cropped():
    resized = F.resize(IMAGE, [13], F.InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(crop_of(config(FILES | SIZES), IMAGE), F.center_crop(resized, [11]))


@pytest.mark.parametrize("form", ["cifar10", "cifar100"])
def test_an_image_as_large_as_cifars_is_taken_as_it_is(form):
    cfg = config({"format": form, "crop": "pad"})
    small = IMAGE[:, :32, :32]
    assert torch.equal(crop_of(cfg, small), small)
    assert crop_of(cfg, IMAGE).shape == (3, 32, 32)


def test_drawn_and_resident_images(tmp_path):
    drawn = config({"format": "shapes", "crop": "pad", "drawn": {"image_size": 17}})
    assert crop_of(drawn, IMAGE).shape == (3, 17, 17)
    resident = tiny_classifier.config(tmp_path, tmp_path / "out")
    assert crop_of(resident, IMAGE) is IMAGE


def test_methods_take_their_sizes_from_the_configuration():
    assert method_of(config(FILES | SIZES)) is None
    ten = method_of(config(FILES | SIZES, testing="ten_crop"))
    assert ten == TenCrop(13, 11, "bicubic")
    scales = method_of(config(FILES | SIZES, testing="multi_scale", scales=(10, 14)))
    assert scales == MultiScale((10, 14), "bicubic")
