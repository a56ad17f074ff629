from resnet_backbone.utils import shipped
from resnet_backbone.utils.shipped import shipped_folder


def test_a_checkout_has_the_folders_beside_the_package():
    assert (shipped_folder("configs") / "quickstart.yaml").is_file()
    assert list(shipped_folder("results").glob("*.json"))


def test_a_wheel_has_them_inside(tmp_path, monkeypatch):
    (tmp_path / "package" / "configs").mkdir(parents=True)
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "package" / "utils" / "shipped.py"))
    assert shipped_folder("configs") == tmp_path / "package" / "configs"
    assert shipped_folder("results") == tmp_path / "results"
