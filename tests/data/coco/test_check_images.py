"""What headers say of a split, against what reading the images says."""

import zlib

import pytest
from PIL import Image

from resnet_backbone.data.coco.check_images import check_images
from resnet_backbone.data.coco.records import ImageRecord
from resnet_backbone.data.loading.images import read_image
from resnet_backbone.errors import DataError

ORIENTATION = 0x0112


def save(folder, name, size, orientation=1, mode="RGB"):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new(mode, size).save(folder / name, exif=exif)


def check(folder, records, **options):
    options = {"exif": "auto", "max_pixels": 10**6, "skip": False} | options
    return check_images(folder / "a.json", folder, records, **options)


def fitting(exif, orientation):
    """The (height, width) in the annotations that an image stored as 20 x 12 can have."""
    if orientation != 6 or exif == "ignore":
        return [(12, 20)]
    return [(20, 12), (12, 20)] if exif == "auto" else [(20, 12)]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("exif", ["auto", "apply", "ignore"])
@pytest.mark.parametrize("size", [(12, 20), (20, 12), (12, 21)])
def test_what_is_refused_is_what_reading_refuses_in_the_same_words(
    tmp_path, suffix, orientation, exif, size
):
    save(tmp_path, f"a.{suffix}", (20, 12), orientation)
    record = ImageRecord(1, f"a.{suffix}", *size)

    def outcome(action):
        try:
            action()
        except DataError as error:
            return str(error).splitlines()[-1].strip()

    expected = outcome(lambda: read_image(tmp_path / record.file_name, size=size, exif=exif))
    assert outcome(lambda: check(tmp_path, [record], exif=exif)) == expected
    assert (expected is None) == (size in fitting(exif, orientation))


def test_a_png_whose_exif_block_follows_its_pixels(tmp_path):
    """It is found where it matters."""
    save(tmp_path, "a.png", (20, 12), 6)
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"eXIf") - 4
    length = 12 + int.from_bytes(content[start : start + 4], "big")
    block, rest = content[start : start + length], content[:start] + content[start + length :]
    end = rest.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(rest[:end] + block + rest[end:])
    assert read_image(tmp_path / "a.png", size=(20, 12)).shape == (3, 20, 12)
    assert check(tmp_path, [ImageRecord(1, "a.png", 20, 12)]).skipped == ()


def test_all_that_cannot_be_used_is_listed_together(tmp_path):
    records = [ImageRecord(n, f"{n}.png", 12, 20) for n in range(30)]
    for record in records[:5]:
        save(tmp_path, record.file_name, (20, 12))
    with pytest.raises(DataError) as caught:
        check(tmp_path, records)
    lines = str(caught.value).splitlines()
    assert "25 of 30 images cannot be used; data.on_bad_sample=skip leaves them out" in lines[0]
    assert lines[1].endswith("5.png: cannot be read: No such file or directory")
    assert lines[-1] == "  ... and 5 more" and len(lines) == 22
    found = check(tmp_path, records, skip=True)
    assert len(found.skipped) == 25
    assert found.notes == ("25 of 30 images cannot be used and are left out",)


def test_swapped_sizes_are_named(tmp_path):
    records = [ImageRecord(n, f"{n}.png", 20, 12) for n in range(3)]
    for record in records:
        save(tmp_path, record.file_name, (20, 12))
    with pytest.raises(DataError, match="in 3 images, the annotations have width and height swap"):
        check(tmp_path, records)


def sized(folder, size, annotated):
    """Images of `size`, by width and height, and records of other sizes."""
    for number in range(len(annotated)):
        save(folder, f"{number}.png", size)
    return [ImageRecord(n, f"{n}.png", h, w) for n, (w, h) in enumerate(annotated)]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(
    ("annotated", "told"),
    [
        ([(40, 24)] * 3, "3 have 0.5 times the annotated width and 0.5 times the height: the im"),
        ([(40, 24), (40, 24), (41, 12)], "2 have 0.5 times the annotated width and"),
        ([(40, 23), (33, 64), (71, 12)], "all of them have one size, the annotated ones differ"),
        ([(12, 20)] * 2, "in 2 images, the annotations have width and height swapped"),
    ],
)
def test_where_no_size_fits_leaving_images_out_is_no_advice(tmp_path, annotated, told, skip):
    records = sized(tmp_path, (20, 12), annotated)
    with pytest.raises(DataError) as caught:
        check(tmp_path, records, skip=skip)
    first = str(caught.value).splitlines()[0]
    total = len(annotated)
    assert f"{total} of {total} images cannot be used; {told}" in first
    assert "skip" not in first


def test_sizes_without_anything_in_common_may_be_those_of_other_images(tmp_path):
    records = sized(tmp_path, (20, 12), [(30, 30), (50, 70)])
    save(tmp_path, "1.png", (25, 11))
    with pytest.raises(DataError, match="are these the annotations of other images?"):
        check(tmp_path, records)


def test_what_exif_would_turn_is_not_taken_for_swapped(tmp_path):
    records = []
    for number in range(2):
        save(tmp_path, f"{number}.jpg", (20, 12), 6)
        records.append(ImageRecord(number, f"{number}.jpg", 20, 12))
    with pytest.raises(DataError, match="2 images would have the annotated size if turned by the"):
        check(tmp_path, records, exif="ignore")


def test_where_nothing_can_be_read_leaving_images_out_is_no_advice(tmp_path):
    records = [ImageRecord(1, "a.png", 12, 20)]
    with pytest.raises(DataError, match="1 of 1 image cannot be used; there is none that can be"):
        check(tmp_path, records, skip=True)


def test_images_that_are_not_turned_for_their_annotated_size_are_counted(tmp_path):
    for number, orientation in enumerate((1, 6, 8, 3)):
        save(tmp_path, f"{number}.jpg", (20, 12), orientation)
    stored = [ImageRecord(n, f"{n}.jpg", 12, 20) for n in range(4)]
    note, _ = check(tmp_path, stored).notes
    assert note.startswith("2 of 4 images are to be turned by their EXIF orientation, but")
    assert "set data.exif=apply" in note
    assert check(tmp_path, stored, exif="ignore").notes == ()
    upright = [
        ImageRecord(n, f"{n}.jpg", *((20, 12) if n in (1, 2) else (12, 20))) for n in range(4)
    ]
    assert not any("are to be turned" in note for note in check(tmp_path, upright).notes)


def test_turned_images_whose_size_does_not_tell_are_counted(tmp_path):
    """Half turns, mirrored and square ones; what is stored upright is not counted."""
    for number, (orientation, width) in enumerate([(1, 20), (3, 20), (2, 20), (6, 12), (6, 20)]):
        save(tmp_path, f"{number}.jpg", (width, 12), orientation)
    sizes = [(12, 20), (12, 20), (12, 20), (12, 12), (20, 12)]
    records = [ImageRecord(n, f"{n}.jpg", *size) for n, size in enumerate(sizes)]
    (note,) = check(tmp_path, records).notes
    assert note.startswith("3 of 5 images are turned by their EXIF orientation, though their size")
    assert check(tmp_path, records[:4], exif="ignore").notes == ()
    assert check(tmp_path, records, exif="apply").notes == ()


def test_colour_images_of_sixteen_bits_are_counted(tmp_path):
    """Pillow writes none, so a PNG of three 16-bit channels is put together."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + crc

    head = (20).to_bytes(4, "big") + (12).to_bytes(4, "big") + b"\x10\x02\x00\x00\x00"
    rows = zlib.compress(bytes(12 * (1 + 20 * 6)))
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    save(tmp_path, "b.png", (20, 12))
    records = [ImageRecord(1, "a.png", 12, 20), ImageRecord(2, "b.png", 12, 20)]
    (note,) = check(tmp_path, records).notes
    assert note.startswith("1 of 2 images have 16 bits per colour channel, of which the upper 8")
