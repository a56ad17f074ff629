"""Unknown arguments."""

import inspect

import pytest

from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.arguments import refuse_unknown, refusing_unknown


def test_all_unknown_names_are_said_at_once():
    known, reasons = ("norm", "weights"), {"stem": "ask elsewhere"}
    with pytest.raises(ConfigError) as caught:
        refuse_unknown(["nrom", "norm", "stem", "xyz"], known, "f", reasons)
    assert str(caught.value).splitlines() == [
        "f: there is no argument 'nrom'; did you mean norm?",
        "f: there is no argument 'stem'; ask elsewhere",
        "f: there is no argument 'xyz'; expected one of norm, weights",
    ]
    refuse_unknown(["norm"], known, "f")


def test_a_decorated_function_is_the_same_otherwise():
    def double(number: int, *, times: int = 2) -> int:
        """Doubles."""
        return number * times

    found = refusing_unknown({})(double)
    assert found(3) == 6 and found(3, times=3) == 9 and found(number=3) == 6
    assert inspect.signature(found) == inspect.signature(double) and found.__doc__ == "Doubles."
    with pytest.raises(ConfigError, match="^double: there is no argument 'time'; did you mean tim"):
        found(3, time=1)
