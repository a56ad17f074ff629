import numpy as np
import pytest
import tiny_classifier
from PIL import Image

from resnet_backbone.cli import compute_mean as compute_mean_command
from resnet_backbone.config.load import dump_config
from resnet_backbone.data.labelled.mean_image import read_mean_image
from resnet_backbone.errors import ConfigError


def test_the_mean_is_that_of_the_training_images(tmp_path, capsys):
    root = tiny_classifier.write_images(tmp_path / "images", side=16)
    data = {"format": "folders", "crop": "scale_jitter", "short_side": (16, 20), "workers": 0}
    sizes = {"size": 16, "test_resize": 16, "test_size": 16}
    cfg = tiny_classifier.config(root, tmp_path / "run", data=data | sizes)
    (tmp_path / "run.yaml").write_text(dump_config(cfg))
    output = tmp_path / "mean.safetensors"
    compute_mean_command.main(["--config", str(tmp_path / "run.yaml"), "--output", str(output)])
    files = sorted((root / "train").rglob("*.png"))
    expected = np.mean([np.asarray(Image.open(file)) for file in files], axis=0)
    found = read_mean_image(output, 16).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert capsys.readouterr().out.endswith(f"(RGB); in {output}\n")


def test_data_in_memory_need_no_file(tmp_path):
    with pytest.raises(ConfigError, match="model.mean_image=auto computes it as it reads"):
        arguments = ["--config", "pretrain_quickstart.yaml", "--output", str(tmp_path / "m")]
        compute_mean_command.main(arguments)
