import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from resnet_backbone.data.labelled.mean_image import mean_of, read_mean_image, write_mean_image
from resnet_backbone.errors import ConfigError, DataError, StorageError


def test_the_mean_is_numpys():
    images = torch.randint(0, 256, (30, 3, 5, 5), dtype=torch.uint8)
    np.testing.assert_allclose(mean_of(images), images.numpy().mean(axis=0), rtol=1e-6)
    assert torch.equal(images[0], images[0].clamp(0, 255))  # the first one is not summed into
    with pytest.raises(DataError, match="at least one image"):
        mean_of([])


def test_it_comes_back_from_its_file(tmp_path):
    mean = torch.rand(3, 5, 5) * 255
    write_mean_image(mean, tmp_path / "deep" / "mean.safetensors")
    assert torch.equal(read_mean_image(tmp_path / "deep" / "mean.safetensors", 5), mean)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_mean_image(mean, tmp_path / "file" / "mean.safetensors")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (
            torch.zeros(3, 4, 4),
            r"has shape \[3, 4, 4\] and dtype torch.float32, expected floats \[3, 5, 5\]",
        ),
        (torch.zeros(3, 5, 5, dtype=torch.uint8), "and dtype torch.uint8, expected"),
        (torch.full((3, 5, 5), float("nan")), "outside of 0 to 255"),
        (torch.full((3, 5, 5), 256.0), "outside of 0 to 255"),
    ],
)
def test_other_tensors_are_refused(tmp_path, tensor, message):
    save_file({"mean": tensor}, tmp_path / "mean.safetensors")
    with pytest.raises(ConfigError, match=message):
        read_mean_image(tmp_path / "mean.safetensors", 5)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "torn.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("absent", "torn", "other"):
        with pytest.raises(ConfigError, match=f"{name}.safetensors is not a mean image"):
            read_mean_image(tmp_path / f"{name}.safetensors", 5)
