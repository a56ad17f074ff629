from hypothesis import given
from hypothesis import strategies as st

from resnet_backbone.utils.trees import leaves

KEYS = st.text(st.characters(exclude_characters="."), min_size=1)
TREES = st.recursive(
    st.dictionaries(KEYS, st.integers() | st.lists(st.integers())),
    lambda inner: st.dictionaries(KEYS, inner | st.none()),
)


def test_of_a_nested_mapping():
    tree = {"a": 1, "b": {"c": [2], "d": {"e": None}}, "f": {}}
    assert dict(leaves(tree)) == {"a": 1, "b.c": [2], "b.d.e": None}


@given(TREES)
def test_each_value_is_found_at_its_key(tree):
    for path, value in leaves(tree):
        found = tree
        for key in path.split("."):
            found = found[key]
        assert found is value and not isinstance(value, dict)
