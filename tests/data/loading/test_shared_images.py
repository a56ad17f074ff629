"""Images that two splits have in common."""

import pytest

from resnet_backbone.data.loading.shared_images import warn_of_shared_images


@pytest.mark.parametrize(
    ("val", "share"),
    [
        (["a/1.jpg"], "1 of 1 validation image"),
        (["b/1.jpg", "a/2.jpg", "a/1.jpg"], "2 of 3 validation images"),
        (["b/1.jpg", "b/2.jpg"], None),
        ([], None),
    ],
)
def test_shared_images_are_counted(caplog, val, share):
    warn_of_shared_images(["a/1.jpg", "a/2.jpg", "a/3.jpg"], val, "val")
    assert bool(caplog.messages) == bool(share)
    assert share is None or f"val: {share}" in caplog.text
