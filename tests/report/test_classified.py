import numpy as np
import torch

from resnet_backbone.report.classified import draw_with_names

IMAGE = torch.full((3, 400, 500), 90, dtype=torch.uint8)


def test_the_image_is_whole_and_the_text_below_it():
    picture = np.asarray(draw_with_names(IMAGE, ["0.93 tabby", "0.04 tiger cat"]))
    assert picture.shape[1] == 500 and picture.shape[0] > 400
    assert (picture[:400] == 90).all()
    one, two = np.array_split(picture[400:], 2)
    assert one.min() < 50 and two.min() < 50  # ink in both halves
    assert picture[400:, :3].min() == 255  # a margin


def test_long_names_fit():
    picture = np.asarray(draw_with_names(IMAGE[:, :, :400], [f"0.93 {'warm ' * 14}"]))
    assert picture[400:, -3:].min() == 255 and picture[400:].min() < 100


def test_without_text_and_enlarged():
    assert draw_with_names(IMAGE, []).size == (500, 400)
    picture = np.asarray(draw_with_names(IMAGE[:, :20, :30], ["0.93 tabby"]))
    assert picture.shape[1] % 30 == 0 and picture.shape[1] >= 400
