"""Modules that a configuration names: found where a script finds its own, errors in one line."""

import sys

import pytest

from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.imports import import_modules


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    return tmp_path


def test_a_file_in_the_current_directory_is_imported_once(folder):
    (folder / "nets_of_mine.py").write_text("import sys\nsys.imported_nets = []\n")
    import_modules(["nets_of_mine"])
    sys.imported_nets.append("kept")
    import_modules(("nets_of_mine",))
    assert sys.imported_nets == ["kept"]
    assert sys.path.count(str(folder)) == 1


def test_packages_and_installed_modules_are_found(folder):
    (folder / "project_of_mine").mkdir()
    (folder / "project_of_mine" / "nets.py").write_text("")
    import_modules(["project_of_mine.nets", "json"])
    assert "project_of_mine.nets" in sys.modules


def test_no_names_change_nothing(folder):
    import_modules([])
    assert str(folder) not in sys.path


def reason(name):
    with pytest.raises(ConfigError) as caught:
        import_modules([name])
    message = str(caught.value)
    assert message.startswith(f"imports: {name}: ") and "\n" not in message
    return message.removeprefix(f"imports: {name}: ")


def test_a_module_that_is_not_there(folder):
    missing = f"no such module, neither in {folder} nor among the installed packages"
    assert reason("not_there_at_all") == missing
    assert reason("not_there_at_all.inside") == missing


def test_a_module_that_needs_another_one(folder):
    (folder / "needs_another.py").write_text("\nimport the_other_one\n")
    text = reason("needs_another")
    assert text.startswith("ModuleNotFoundError: No module named 'the_other_one'")
    assert text.endswith(f"({folder / 'needs_another.py'}, line 2)")


def test_a_module_that_fails(folder):
    (folder / "fails.py").write_text("x = {}\nx['key']\n")
    assert reason("fails") == f"KeyError: 'key' ({folder / 'fails.py'}, line 2)"
    (folder / "garbled.py").write_text("def f(:\n")
    assert reason("garbled").startswith("SyntaxError: invalid syntax (garbled.py, line 1)")


def test_a_name_that_is_a_path(folder):
    (folder / "nets.py").write_text("")
    assert reason("nets.py") == "got a file, expected a module name (nets)"
    assert reason("my/nets.py") == "got a file, expected a module name (my.nets)"
    assert "relative" in reason(".nets")
