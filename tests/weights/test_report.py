"""What a report says in one line."""

from resnet_backbone.weights.report import LoadReport


def test_every_kind_of_difference_is_counted_and_named():
    report = LoadReport(
        loaded=("a", "b"),
        missing=("c",),
        unexpected=tuple("defghi"),
        mismatched=(("j", (1, 2), (3, 4)),),
        reshaped=(("k", (5,), (6,)),),
        redrawn=("fc.weight",),
    )
    assert str(report) == (
        "2 tensors fit; 1 missing: c; 1 of another shape: j [1, 2] for [3, 4]; "
        "1 adapted: k [5] for [6]; 1 drawn anew: fc.weight; 6 not used: d, e, f, g, h and 1 more"
    )


def test_nothing_is_said_of_what_is_not_there():
    assert str(LoadReport(("a",), (), (), ())) == "1 tensor fits"
