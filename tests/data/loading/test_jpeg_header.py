import io
import struct

import pytest
from PIL import Image

from resnet_backbone.data.loading.jpeg_header import read_header


def encoded(mode: str = "RGB", **options) -> bytes:
    content = io.BytesIO()
    Image.new(mode, (40, 70)).save(content, "JPEG", **options)
    return content.getvalue()


@pytest.mark.parametrize(
    ("mode", "options", "unit"),
    [
        ("RGB", {"subsampling": "4:4:4"}, 8),
        ("RGB", {"subsampling": "4:2:2"}, 8),
        ("RGB", {"subsampling": "4:2:0"}, 16),
        ("RGB", {"progressive": True, "comment": b"\xff\xc0 not a frame"}, 16),
        ("L", {}, 8),
    ],
)
def test_sizes_are_pillows_and_units_follow_the_sampling(mode, options, unit):
    header = read_header(encoded(mode, **options))
    assert (header.height, header.width, header.unit) == (70, 40, unit)


def test_a_shortened_file_says_so_and_is_otherwise_the_same():
    content = encoded(subsampling="4:2:0")
    header = read_header(content)
    found = header.shortened(content, 17)  # two units of 16, and one more
    assert read_header(found).height == 48 and len(found) == len(content)
    assert found[: header.place + 5] == content[: header.place + 5]
    assert found[header.place + 7 :] == content[header.place + 7 :]
    assert header.shortened(content, 65) is None


def test_a_file_without_its_end_is_not_complete():
    content = encoded()
    header = read_header(content)
    assert header.is_complete(content) and not header.is_complete(content[:-1])


@pytest.mark.parametrize("kept", range(0, 600, 7))
def test_a_header_cut_anywhere_is_none(kept):
    content = encoded()
    assert read_header(content).scan > 600
    assert read_header(content[:kept]) is None


def test_what_is_no_ordinary_jpeg_is_left_to_others():
    content = encoded()
    place = read_header(content).place
    for offset, value in ((1, 0xC3), (1, 0xC9), (4, 12), (9, 4)):  # lossless, arithmetic, 12 bits
        other = bytearray(content)
        other[place + offset] = value
        assert read_header(bytes(other)) is None
    nowhere = bytearray(content)
    struct.pack_into(">H", nowhere, place + 5, 0)  # the height comes after the first scan
    assert read_header(bytes(nowhere)) is None
    assert read_header(encoded("CMYK")) is None
    assert read_header(b"\x89PNG") is None


def test_no_frame_is_seen_where_decoders_see_none():
    """A small frame in what decoders skip, before the true one."""
    content = encoded()
    place = read_header(content).place
    frame = bytearray(content[place : place + 19])
    struct.pack_into(">HH", frame, 5, 8, 8)
    for filling in (b"\xff", b"\xff\xd0", b"\x00\x00", b"\xff\x01\x00\x04"):
        assert read_header(content[:2] + filling + frame + content[2:]) is None
