import numpy as np
from tiny_rcnn import SIDE, tiny_config, write_tiny_dataset

from resnet_backbone.config.schema import DataConfig
from resnet_backbone.data.coco.build import build_dataset
from resnet_backbone.tasks.detection.label_statistics import label_statistics


def test_boxes_are_measured_in_the_pixels_that_the_network_sees(tmp_path):
    section = write_tiny_dataset(tmp_path, 3) | {"min_sizes": (32, SIDE, 1000), "max_size": 2000}
    data = DataConfig.model_validate(section)
    dataset = build_dataset(data, "train", with_masks=True, seed=0)
    cfg = tiny_config().model_copy(update={"data": data})
    found = label_statistics(cfg, dataset)
    # Boxes of 64 pixels at 16 to 80, in images of 128 pixels that become images of 64.
    np.testing.assert_allclose(found.sizes, [32] * 3)
    np.testing.assert_allclose(found.ratios, [1] * 3)
    np.testing.assert_allclose(found.centres, [[48 / 128] * 2] * 3)
    assert found.counts.tolist() == [3, 0, 0]
    assert found.anchor_sizes == [8, 16, 32, 64, 128]
    boxes, images = dataset.training_boxes()
    assert boxes.tolist() == [[16, 16, 80, 80]] * 3 and images.tolist() == [0, 1, 2]
