"""The list of our own files in an output folder, and what it keeps us from."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnet_backbone.errors import StorageError
from resnet_backbone.utils.own_files import LIST, OwnFiles, listed_files


def write(folder, *names, text="x"):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_names_are_listed_before_the_files_are_written(tmp_path):
    own = OwnFiles(tmp_path, "run")
    own.claim(["a", "b/c"])
    assert json.loads((tmp_path / LIST).read_text()) == {"run": ["a", "b/c"]}
    assert own.present() == []
    write(tmp_path, "b/c")
    assert own.present() == ["b/c"] and own.listed() == {"a", "b/c"}
    own.claim(["a", "b/c"])  # ours may be replaced


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "dangling link", "other writer"])
def test_what_others_have_is_not_claimed(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    else:
        OwnFiles(tmp_path, "run").claim(["a"])
        write(tmp_path, "a")
    own = OwnFiles(tmp_path, "evaluation")
    with pytest.raises(StorageError, match="contains a, which this evaluation would replace"):
        own.claim(["a", "b"])
    assert own.listed() == set()


def test_a_listed_name_that_became_a_pipe_is_foreign(tmp_path):
    own = OwnFiles(tmp_path, "run")
    own.claim(["a"])
    os.mkfifo(tmp_path / "a")
    assert own.foreign(["a"]) == ["a"]


def test_names_that_others_have_get_a_number(tmp_path):
    own = OwnFiles(tmp_path, "prediction")
    own.claim(["b.jpg"])
    write(tmp_path, "a.jpg", "a_2.jpg", "b.jpg")
    wanted = ["a.jpg", "a.jpg", "b.jpg", "c.jpg", "c_2.jpg", "c.jpg"]
    free = ["a_3.jpg", "a_4.jpg", "b.jpg", "c_2.jpg", "c_2_2.jpg", "c_3.jpg"]
    assert own.free_names(wanted, reserved=["c.jpg"]) == free


def test_removing_takes_our_files_and_leaves_the_others(tmp_path):
    run, other = OwnFiles(tmp_path, "run"), OwnFiles(tmp_path, "evaluation")
    run.claim(["a", "deep/er/b", "pictures/1.jpg", "never written"])
    other.claim(["results.json"])
    write(tmp_path, "a", "deep/er/b", "pictures/1.jpg", "results.json", "thesis.txt")
    write(tmp_path, "pictures/holiday.jpg")
    run.remove()
    assert files_in(tmp_path) == {LIST, "results.json", "thesis.txt", "pictures/holiday.jpg"}
    assert not (tmp_path / "deep").exists()
    assert run.listed() == set() and other.listed() == {"results.json"}
    other.remove()
    assert files_in(tmp_path) == {"thesis.txt", "pictures/holiday.jpg"}


def test_a_list_from_elsewhere_reaches_no_file_outside(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    write(tmp_path, "thesis.txt", "outside/photo.jpg")
    folder.mkdir()
    (folder / "pictures").symlink_to(outside)
    names = ["../thesis.txt", str(tmp_path / "thesis.txt"), "pictures/photo.jpg", "a/../../x"]
    (folder / LIST).write_text(json.dumps({"run": names}))
    OwnFiles(folder, "run").remove()
    assert files_in(tmp_path) >= {"thesis.txt", "outside/photo.jpg"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON.map(json.dumps).map(str.encode) | st.binary(max_size=20))
def test_a_damaged_list_is_a_storage_error_or_lists_nothing_of_ours(tmp_path, content):
    (tmp_path / LIST).write_bytes(content)
    try:
        OwnFiles(tmp_path, "run").remove()
    except StorageError as error:
        assert LIST in str(error)
    assert isinstance(listed_files(tmp_path), set)


def test_files_of_one_folder_alone_can_be_removed(tmp_path):
    own = OwnFiles(tmp_path, "run")
    own.claim(["a", "b/c", "b/d/e", "bc"])
    write(tmp_path, "a", "b/c", "b/d/e", "b/d/mine", "bc")
    own.remove(below="b")
    assert own.listed() == {"a", "bc"}
    assert files_in(tmp_path) == {LIST, "a", "b/d/mine", "bc"}
