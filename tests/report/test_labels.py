import hypothesis.strategies as st
from hypothesis import given, settings

from resnet_backbone.report.labels import place_labels

CANVAS = (640, 480)
numbers = st.integers(-100, 700)
boxes = st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=30)


def overlap(a, b):
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


@settings(max_examples=60, deadline=None)
@given(boxes)
def test_labels_stay_inside_whatever_the_boxes(drawn):
    drawn = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in drawn]
    for place in place_labels(drawn, [(90, 16)] * len(drawn), CANVAS):
        assert place[0] >= 0 and place[1] >= 0
        assert place[2] <= CANVAS[0] and place[3] <= CANVAS[1]
        assert (place[2] - place[0], place[3] - place[1]) == (90, 16)


def test_above_the_box_where_nothing_is_in_the_way():
    assert place_labels([(100, 100, 300, 300)], [(80, 20)], CANVAS) == [(100, 80, 180, 100)]


def test_objects_at_one_place_do_not_bury_each_others_labels():
    placed = place_labels([(100, 100, 300, 300)] * 8, [(80, 20)] * 8, CANVAS)
    pairs = [(a, b) for i, a in enumerate(placed) for b in placed[:i]]
    assert all(overlap(a, b) == 0 for a, b in pairs)


def test_a_label_larger_than_the_picture_starts_at_its_corner():
    assert place_labels([(5, 5, 9, 9)], [(50, 20)], (30, 10)) == [(0, 0, 50, 20)]
