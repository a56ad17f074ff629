import numpy as np
import pytest
from PIL import Image

from resnet_backbone.data.loading.bit_depth import find_bit_depth as find


def find_bit_depth(files, total, **options):
    names = [str(file) for file in files]
    return find(names, lambda index: files[index].open("rb"), total, **options)


def save(folder, values, dtype=np.uint16):
    files = []
    for number, value in enumerate(values):
        files.append(folder / f"{number}.tif")
        Image.fromarray(np.array([[0, value]], dtype=dtype)).save(files[-1])
    return files


@pytest.mark.parametrize(
    ("largest", "depth"), [(200, 8), (1000, 10), (4095, 12), (4096, 14), (65535, 16)]
)
def test_the_depth_is_that_of_the_largest_value_of_all(tmp_path, largest, depth):
    files = save(tmp_path, [3, largest, 7])
    found, (note,) = find_bit_depth(files, 5, max_pixels=100)
    assert found == depth
    assert note.startswith("3 of 5 images have more than 8 bits per pixel: their largest value is")
    assert f"{largest}, so {depth} bits are taken" in note and "data.bit_depth sets it" in note


def test_floats_have_no_range(tmp_path):
    found, (note,) = find_bit_depth(save(tmp_path, [0.5], np.float32), 1, max_pixels=100)
    assert found == "auto" and note.endswith("scaled by the range of values in each image")


def test_what_cannot_be_read_does_not_count(tmp_path):
    files = save(tmp_path, [900, 60_000])
    files[1].write_bytes(b"x")
    assert find_bit_depth(files, 2, max_pixels=100)[0] == 10
    assert find_bit_depth([], 2, max_pixels=100) == ("auto", [])


def test_a_depth_that_is_given_is_kept_and_what_it_cuts_off_is_said(tmp_path):
    files = save(tmp_path, [900, 60_000])
    found, (note,) = find_bit_depth(files, 2, max_pixels=100, chosen=12)
    assert found == 12
    assert note.endswith("so 4095 is white, as are all values beyond 4095")
    _, (note,) = find_bit_depth(files[:1], 2, max_pixels=100, chosen=12)
    assert "their largest value is 900; 12 bits are taken" in note and note.endswith("is white")
    assert find_bit_depth([], 2, max_pixels=100, chosen=12) == (12, [])
