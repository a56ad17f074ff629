import platform

import pytest
import torch

from resnet_backbone.utils import processor
from resnet_backbone.utils.processor import has_fast_matrix_products

INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\n\nprocessor\t: 1\n"


@pytest.fixture(autouse=True)
def _asked_anew():
    has_fast_matrix_products.cache_clear()
    yield
    has_fast_matrix_products.cache_clear()


@pytest.mark.parametrize(
    ("text", "expected"), [(INTEL, True), (INTEL.replace("GenuineIntel", "AuthenticAMD"), False)]
)
def test_the_maker_is_read_from_linux(tmp_path, text, expected):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert ("GenuineIntel" in processor._description(file)) == expected


def test_elsewhere_the_platform_says_it(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "Intel64 Family 6 Model 85, GenuineIntel")
    assert "GenuineIntel" in processor._description(tmp_path / "absent")


@pytest.mark.parametrize(
    ("mkl", "maker", "expected"),
    [
        (True, "GenuineIntel", True),
        (False, "GenuineIntel", False),
        (True, "AuthenticAMD", False),
    ],
)
def test_mkl_and_intel_together(monkeypatch, mkl, maker, expected):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(processor, "_description", lambda file: f"vendor_id : {maker}")
    assert has_fast_matrix_products() == expected
