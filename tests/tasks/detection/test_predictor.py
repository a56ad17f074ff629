import numpy as np
import pytest
import torch
from PIL import Image
from tiny_rcnn import CLASS_NAMES, SIDE, save_tiny_weights, tiny_config, write_tiny_dataset

from resnet_backbone.data.coco.build import build_dataset, build_test_loader
from resnet_backbone.errors import DataError, WeightsError
from resnet_backbone.tasks.detection.predictor import DetectionPredictor
from resnet_backbone.utils import precision


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return DetectionPredictor(save_tiny_weights(tmp_path_factory.mktemp("w") / "m.safetensors"))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(3).integers(0, 256, (90, 150, 3), dtype=np.uint8)


def test_boxes_and_masks_have_the_size_of_the_image(predictor, pixels):
    found = predictor(pixels, image_id=7)
    assert found.image_id == 7
    assert found.size == (90, 150)
    assert len(found) > 0
    assert found.masks.shape == (len(found), 90, 150)
    assert found.boxes.min() >= 0
    assert found.boxes[:, 2].max() <= 150 and found.boxes[:, 3].max() <= 90
    # The network saw at most SIDE pixels: boxes reach further only if they were scaled back.
    assert found.boxes[:, 2].max() > SIDE


@pytest.mark.parametrize("fast", [True, False])
def test_networks_trained_in_bf16_predict_in_it_where_that_is_faster(
    tmp_path, monkeypatch, pixels, fast
):
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: fast)
    cfg = tiny_config()
    cfg = cfg.model_copy(update={"solver": cfg.solver.model_copy(update={"amp": "bf16"})})
    predictor = DetectionPredictor(save_tiny_weights(tmp_path / "m.safetensors", cfg), device="cpu")
    seen = set()
    predictor.model.neck.register_forward_hook(lambda *args: seen.update(m.dtype for m in args[2]))
    assert predictor(pixels).boxes.dtype is torch.float32
    assert seen == {torch.bfloat16 if fast else torch.float32}


def test_every_kind_of_input_gives_the_same(predictor, pixels, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    expected = predictor(pixels)
    for image in (path, str(path), Image.open(path), torch.from_numpy(pixels).permute(2, 0, 1)):
        found = predictor(image)
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.equal(found.masks, expected.masks)


def test_images_are_prepared_exactly_as_in_evaluation(tmp_path):
    section = write_tiny_dataset(tmp_path / "data")
    cfg = tiny_config().model_copy(
        update={"data": tiny_config().data.model_validate(section, strict=False)}
    )
    weights = save_tiny_weights(tmp_path / "model.safetensors", cfg)
    predictor = DetectionPredictor(weights, device="cpu")
    dataset = build_dataset(cfg.data, "val", with_masks=True, seed=0)
    divisor = predictor.model.size_divisor
    for batch in build_test_loader(cfg.data, dataset, batch_size=1, size_divisor=divisor):
        (expected,) = predictor.model.detect(batch)
        found = predictor(dataset.folder / f"{batch.image_ids[0]}.png")
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.masks, expected.masks)


@pytest.mark.parametrize(("architecture", "size"), [("fpn", (64, 64)), ("dc5", (61, 49))])
def test_images_are_padded_as_the_architecture_requires(architecture, size, tmp_path):
    rpn = {} if architecture == "fpn" else {"rpn": {"anchors": {"sizes": ((8.0, 16.0, 32.0),)}}}
    cfg = tiny_config(architecture=architecture, **rpn)
    predictor = DetectionPredictor(save_tiny_weights(tmp_path / "model.safetensors", cfg))
    seen = []
    predictor.model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    predictor.cfg = cfg.model_copy(
        update={"data": cfg.data.model_copy(update={"test_min_size": 49, "test_max_size": 61})}
    )
    predictor(np.zeros((61, 49, 3), dtype=np.uint8))
    assert [shape[2:] for shape in seen] == [size]


def test_threshold(tmp_path, pixels):
    path = save_tiny_weights(tmp_path / "model.safetensors")
    scores = DetectionPredictor(path)(pixels).scores
    middle = float(scores.median())
    kept = DetectionPredictor(path, score_threshold=middle)(pixels).scores
    assert len(kept) == int((scores > middle).sum())


def test_contradicting_configuration(tmp_path):
    path = save_tiny_weights(tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="model.mask: False"):
        DetectionPredictor(path, tiny_config(mask=False))


def test_classes_come_with_the_weights(predictor):
    assert predictor.class_names == CLASS_NAMES


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        torch.zeros(4, 4, 3, dtype=torch.uint8),
        torch.zeros(3, 4, 4),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_of_another_form_are_refused(predictor, image):
    with pytest.raises(DataError, match="expected uint8"):
        predictor(image)


def test_files_that_are_no_images(predictor, tmp_path):
    with pytest.raises(DataError, match=r"absent\.jpg"):
        predictor(tmp_path / "absent.jpg")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        predictor(broken)


def test_a_list_of_images_is_a_batch(predictor, pixels):
    small = np.ascontiguousarray(pixels[:49, :61])
    images = [pixels, small, pixels[::-1]]
    found = predictor(images, image_id=5)
    assert [one.image_id for one in found] == [5, 6, 7]
    for image, one in zip(images, found, strict=True):
        alone = predictor(image)
        assert one.size == alone.size == image.shape[:2]
        # The products of a batch are summed in another order.
        torch.testing.assert_close(one.boxes, alone.boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(one.scores, alone.scores, atol=1e-5, rtol=0)
    assert predictor([]) == []


def test_images_of_one_size_share_batches_of_limited_size(predictor, pixels, monkeypatch):
    monkeypatch.setattr("resnet_backbone.tasks.detection.predictor.MAX_BATCH", 2)
    sizes = []
    hook = predictor.model.backbone.register_forward_pre_hook(
        lambda _, args: sizes.append(len(args[0]))
    )
    predictor([pixels, pixels[:50], pixels, pixels])
    hook.remove()
    assert sizes == [2, 1, 1]


def test_something_that_is_no_image(predictor):
    with pytest.raises(DataError, match="found a NoneType, expected an image"):
        predictor(None)
