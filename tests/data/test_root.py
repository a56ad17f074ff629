import pytest

from resnet_backbone.data.root import require_root
from resnet_backbone.errors import DataError


def test_the_root_is_a_folder_or_named_with_its_key(tmp_path, monkeypatch):
    require_root(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for name in ("absent", "file"):
        with pytest.raises(DataError, match=f"{tmp_path / name}: no such folder; check data.root"):
            require_root(name)
