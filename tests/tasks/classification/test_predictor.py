"""Predictions are evaluation's, whatever the images come as."""

import numpy as np
import pytest
import tiny_classifier
import torch
from PIL import Image

from resnet_backbone.engine.train import train_task
from resnet_backbone.errors import ConfigError, DataError, WeightsError
from resnet_backbone.tasks.classification.evaluate_files import evaluate_classifier_files
from resnet_backbone.tasks.classification.predictor import ClassificationPredictor
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.weights.files import read_state_dict, save_weights

FILES = {
    **{"format": "folders", "crop": "scale_jitter", "short_side": (12, 16), "workers": 0},
    **{"test_resize": 11, "test_size": 9, "size": 9, "interpolation": "bicubic"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Images of which some lie between the classes, so that a short run errs."""
    root = tiny_classifier.write_images(tmp_path_factory.mktemp("images"))
    for name in tiny_classifier.CLASSES:
        for number in range(6):
            Image.new("RGB", (12, 12), (110 + 8 * number,) * 3).save(
                root / f"val/{name}/x{number}.png"
            )
    return root


@pytest.fixture(scope="module", params=["resident", "folders", "ten_crop"])
def run(request, root, tmp_path_factory):
    output = tmp_path_factory.mktemp(request.param)
    data = {} if request.param == "resident" else FILES
    evaluation = {} if request.param != "ten_crop" else {"testing": "ten_crop"}
    model = {"pixels": {"channel_order": "BGR", "mean": (90, 110, 130), "std": (50, 60, 70)}}
    cfg = tiny_classifier.config(root, output, data=data, evaluation=evaluation, model=model)
    return train_task(ClassificationTask, cfg)


@pytest.fixture(scope="module")
def predictor(run):
    return ClassificationPredictor(run)


@pytest.fixture(scope="module")
def files(root):
    return sorted(root.glob("val/*/*.png"))


def test_accuracy_and_loss_are_those_of_the_evaluation(run, predictor, files, tmp_path):
    found = predictor(files)
    truth = [path.parent.name for path in files]
    judged = evaluate_classifier_files(predictor.cfg, [run / "model.safetensors"], tmp_path)
    wrong = [one.names[0] != name for one, name in zip(found, truth, strict=True)]
    assert 0 < sum(wrong) < len(wrong)
    assert judged.metrics["classification"]["top1_error"] == sum(wrong) / len(wrong)
    rights = [one.scores[one.names.index(name)] for one, name in zip(found, truth, strict=True)]
    # Batches of other sizes: float32 rounding.
    expected = pytest.approx(judged.loss["loss"], rel=1e-5)
    assert -float(torch.stack(rights).log().mean()) == expected


def test_a_list_is_a_batch(predictor, files):
    large = np.asarray(Image.open(files[0]).resize((50, 31)))
    images = [files[0], large, files[1]]
    found = predictor(images, image_id=4)
    assert [one.image_id for one in found] == [4, 5, 6]
    assert found[1].size == (31, 50)
    for image, one in zip(images, found, strict=True):
        # The products of a batch are summed in another order.
        expected = predictor(image).probabilities
        torch.testing.assert_close(one.probabilities, expected, atol=1e-5, rtol=0)
    assert predictor([]) == []


def test_every_kind_of_input_gives_the_same(predictor, files):
    expected = predictor(files[0]).probabilities
    assert float(expected.sum()) == pytest.approx(1, abs=1e-6)
    pixels = np.asarray(Image.open(files[0]))
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    for image in (str(files[0]), Image.open(files[0]), pixels, tensor):
        assert torch.equal(predictor(image).probabilities, expected)


@pytest.fixture(scope="module")
def untrained(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    cfg = tiny_classifier.config(root, folder, data=FILES)
    task = ClassificationTask(ClassificationTask.settle(cfg).cfg, torch.device("cpu"))
    save_weights(task.weights(), folder / "w.safetensors", task.card(None))
    return cfg, folder / "w.safetensors"


def test_the_best_classes_come_first(untrained, files):
    found = ClassificationPredictor(untrained[1], top=5)(files[0])
    assert len(found) == 2  # no more than there are
    assert found.scores[0] >= found.scores[1]
    assert len(ClassificationPredictor(untrained[1], top=1)(files[0])) == 1
    with pytest.raises(ConfigError, match="top: got 0, expected at least 1"):
        ClassificationPredictor(untrained[1], top=0)


def test_files_without_a_card(untrained, files, tmp_path):
    cfg, own = untrained
    save_weights(read_state_dict(own), bare := tmp_path / "bare.safetensors", {})
    with pytest.raises(WeightsError, match=r"bare.*contains no configuration; .*\(--config\)"):
        ClassificationPredictor(bare)
    with pytest.raises(ConfigError, match=r"nothing is known .*; set model.pixels.channel_order"):
        ClassificationPredictor(bare, cfg)
    known = ClassificationPredictor(own)
    found = ClassificationPredictor(bare, known.cfg)(files[0])
    assert found.names[0].startswith("class ")
    assert torch.equal(found.probabilities, known(files[0]).probabilities)


def test_another_configuration_reads_images_as_in_training(untrained, files, caplog):
    cfg, own = untrained
    other = cfg.model_copy(update={"data": cfg.data.model_copy(update={"test_size": 10})})
    found = ClassificationPredictor(own, other)(files[0])
    assert "data.test_size=9, as in the training" in caplog.text
    assert torch.equal(found.probabilities, ClassificationPredictor(own)(files[0]).probabilities)


def test_the_orientation_in_a_file_is_ignored_as_in_evaluation(untrained, tmp_path, caplog):
    predictor = ClassificationPredictor(untrained[1])
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 19, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    image.save(path := tmp_path / "turned.png", exif=exif)
    expected = predictor(image).probabilities
    assert torch.equal(predictor(path).probabilities, expected)
    assert torch.equal(predictor(Image.open(path)).probabilities, expected)
    assert caplog.text.count("its EXIF orientation is ignored") == 1
    assert f"{path}: its EXIF" in caplog.text


def test_what_is_no_image(untrained, tmp_path):
    predictor = ClassificationPredictor(untrained[1])
    for image in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(DataError, match=str(image)):
            predictor(image)
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png"):
        predictor(tmp_path / "bad.png")
    with pytest.raises(DataError, match="found a NoneType, expected an image"):
        predictor(None)
