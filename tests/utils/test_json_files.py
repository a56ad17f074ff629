"""JSON in every encoding that tools write, and errors in one line."""

import bz2
import codecs
import gzip
import lzma

import pytest

from resnet_backbone.errors import DataError
from resnet_backbone.utils.json_files import read_json

TEXT = '{"name": "\u00e9clair \u732b", "ids": [1, 2]}'


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-16-le"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
def test_the_encoding_is_recognised(tmp_path, mark, encoding):
    file = tmp_path / "a.json"
    file.write_bytes(mark + TEXT.encode(encoding))
    assert read_json(file) == {"name": "\u00e9clair \u732b", "ids": [1, 2]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not valid JSON, or truncated"),
        (b'{"a": ', "not valid JSON, or truncated"),
        (b"\xff\xfe\x00", "not valid JSON, or truncated"),
        (b"\xc3\x28", "not valid JSON, or truncated"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_named(tmp_path, content, reason):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"a.json: {reason}"):
        read_json(file)


@pytest.mark.parametrize(
    ("compress", "what"),
    [
        (gzip.compress, "compressed with gzip .unpack it with gunzip., expected JSON"),
        (bz2.compress, "compressed with bzip2"),
        (lzma.compress, "compressed with xz"),
        (lambda text: b"\n<html>" + text, "a page in HTML, or XML"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
)
def test_what_is_in_another_form_is_said(tmp_path, compress, what):
    file = tmp_path / "a.json"
    file.write_bytes(compress(TEXT.encode()))
    with pytest.raises(DataError, match=f"a.json: {what}"):
        read_json(file)


def test_other_files_in_the_folder_are_named(tmp_path):
    for name in ("train.json", "b.json.gz", "notes.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match="check data.root; .* has b.json.gz, train.json$"):
        read_json(tmp_path / "b.json")


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(DataError, match="b.json: no such annotation file; check data.root"):
        read_json(tmp_path / "b.json")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_json(tmp_path)
