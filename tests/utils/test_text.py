import pytest

from resnet_backbone.utils.text import SHOWN, count_of, listing, read_any_text, refuse_all


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a", "b"], "a, b"),
        ({7: "of a mapping, its keys"}, "7"),
        (list("abc"), "a, b, c"),
        (list("abcde"), "a, b, c and 2 more"),
    ],
)
def test_beyond_the_limit_names_are_counted(names, expected):
    assert listing(names, 3) == expected


def test_everything_that_is_wrong_is_listed_up_to_a_screen():
    lines = refuse_all("a.json", ["x: bad", "y: bad"], 9, "image", "mend them").splitlines()
    assert lines == ["a.json: 2 of 9 images cannot be used; mend them", "  x: bad", "  y: bad"]
    many = refuse_all("a.json", ["bad"] * 23, 30, "image", "mend them").splitlines()
    assert len(many) == SHOWN + 2 and many[-1] == "  ... and 3 more"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_files_of_any_editor(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("\u00e9clair\r\n".encode(encoding))
    assert read_any_text(tmp_path / "a.txt") == "\u00e9clair\r\n"


def test_other_encodings_are_errors(tmp_path):
    (tmp_path / "a.txt").write_bytes("\u00e9clair".encode("latin-1"))
    with pytest.raises(UnicodeError):
        read_any_text(tmp_path / "a.txt")


def test_a_number_goes_with_its_noun():
    assert [count_of(n, "rank") for n in (0, 1, 2)] == ["0 ranks", "1 rank", "2 ranks"]
    assert count_of(1, "batch", "batches") == "1 batch"
    assert count_of(12_000, "batch", "batches") == "12,000 batches"
