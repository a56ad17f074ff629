import pytest

from resnet_backbone.utils.text import listing


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
