"""Findings as sentences: what was found, what was expected, what was meant."""

import re
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError
from refused_configs import errors_of, paths_of

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.explain import describe, dotted, is_echo, show
from resnet_backbone.config.run_schema import Section
from resnet_backbone.config.schema import Config

PATHS = [path for path in paths_of(Config().model_dump()) if path != ("overrides",)]


class Wheel(Section):
    """A schema whose words are none of ours."""

    radius: Annotated[float, Field(gt=0)] = 1.0
    spokes: Annotated[int, Field(ge=3, le=99)] = 36
    rim: Literal["steel", "carbon"] = "steel"


class Bicycle(Section):
    front: Wheel = Wheel()
    colours: tuple[str, ...] = Field(("red",), min_length=1)
    size: tuple[int, int]
    lights: bool | None = None
    extras: dict[str, int] = {}


def sentences(**tree):
    """What is said about a bicycle, by place."""
    with pytest.raises(ValidationError) as caught:
        Bicycle.model_validate({"size": (5, 7)} | tree, strict=True)
    found = [each for each in caught.value.errors() if not is_echo(each)]
    return {dotted(each["loc"]): describe(each, Bicycle) for each in found}


@pytest.mark.parametrize(
    ("tree", "place", "sentence"),
    [
        ({"front": {"spokes": 2}}, "front.spokes", "found 2, expected a value greater than or equ"),
        ({"front": {"spokes": 2.5}}, "front.spokes", "found 2.5, expected an integer"),
        ({"front": {"radius": "x"}}, "front.radius", "found 'x', expected a number"),
        ({"front": {"radius": float("inf")}}, "front.radius", "found inf, expected a finite num"),
        ({"front": {"rim": "wood"}}, "front.rim", "found 'wood', expected one of 'steel' or 'car"),
        (
            {"front": None},
            "front",
            "found nothing, expected a section, that is, indented '",
        ),
        (
            {"extras": 3},
            "extras",
            "found 3, expected a section, that is, indented '",
        ),
        ({"extras": {"bell": "x"}}, "extras.bell", "found 'x', expected an integer"),
        ({"lights": "on"}, "lights", "found 'on', expected true or false"),
        ({"colours": ()}, "colours", "found [], expected at least 1 entries"),
        (
            {"colours": (5,)},
            "colours[0]",
            "found 5, expected text (put quotes",
        ),
        ({"colours": "red"}, "colours", "found 'red', expected a list"),
        ({"size": (5,)}, "size[1]", "found [5], expected one more entry"),
        ({"size": (5, 6, 7)}, "size", "found [5, 6, 7], expected at most 2 entries"),
        ({"brake": 1}, "brake", "unknown key; the keys at the top are front, colours, size, li"),
        ({"light": 1}, "light", "unknown key; did you mean lights?"),
        ({"front": {"spoke": 1}}, "front.spoke", "unknown key; did you mean front.spokes?"),
        ({"rim": 1}, "rim", "unknown key; did you mean front.rim?"),
        ({"front": {"tyre": 1}}, "front.tyre", "unknown key; the keys of front are radius, spok"),
    ],
)
def test_one_finding_is_one_sentence(tree, place, sentence):
    (found,) = sentences(**tree).items()
    assert found[0] == place
    assert found[1].startswith(sentence)


def test_a_key_without_default_is_missed_by_name():
    with pytest.raises(ValidationError) as caught:
        Bicycle.model_validate({"lights": True})
    (found,) = caught.value.errors()
    expected = "found a section with the keys lights, expected this key too, which has no default"
    assert (dotted(found["loc"]), describe(found, Bicycle)) == ("size", expected)


WRONG = [
    *(None, True, -3, 1.5, float("nan"), float("inf"), "x", b"x", (), ("x",), ((1, 2),), ((),)),
    *({}, {"zzz": 1}, 10**18 * 9, 10**19 - 1, (1, 2, 3, 4, 5)),
]


@pytest.mark.parametrize("schema", [Config, ClassificationConfig])
def test_whatever_is_wrong_is_said_in_our_words(schema):
    """Every key with values of every kind: no crash, and nothing of pydantic's own wording."""
    checked = 0
    for path in paths_of(schema().model_dump()):
        for value in WRONG:
            tree = schema().model_dump()
            section = tree
            for key in path[:-1]:
                section = section[key]
            section[path[-1]] = value
            try:
                schema.model_validate(tree, strict=True)
            except ValidationError as error:
                for found in error.errors():
                    sentence = describe(found, schema)
                    assert not re.search("Input|[Vv]alid|Unable|a value a|Field", sentence), (
                        sentence
                    )
                    assert "\n" not in sentence
                    checked += 1
    assert checked > 900


def test_a_list_is_not_called_too_short_for_its_wrong_entries():
    """Pydantic counts only the entries that it accepts."""
    assert errors_of("quickstart", ["data.min_sizes=[x]"]) == [
        "data.min_sizes[0] (command line): found 'x', expected an integer"
    ]
    assert errors_of("quickstart", ["data.min_sizes=[]"]) == [
        "data.min_sizes (command line): found [], expected at least 1 entries"
    ]


NAMES = st.from_regex(r"[a-z_]+", fullmatch=True)


@given(st.lists(NAMES | st.integers(0, 20), max_size=6).map(tuple))
def test_places_can_be_read_back(place):
    parts = re.findall(r"\[(\d+)\]|\.?([a-z_]+)", dotted(place))
    assert tuple(int(index) if index else name for index, name in parts) == place


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "nothing"),
        (True, "true"),
        (False, "false"),
        (0.1, "0.1"),
        ("off", "'off'"),
        ((1, 2.5), "[1, 2.5]"),
        ([], "[]"),
        ({}, "a section with the keys (none)"),
        ({"a": 1, "b": {}}, "a section with the keys a, b"),
        ("x" * 58, "'" + "x" * 58 + "'"),
        ("x" * 59, "'" + "x" * 56 + "..."),
    ],
)
def test_values_are_shown_as_they_would_be_written(value, expected):
    assert show(value) == expected


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_a_value_never_takes_more_than_a_line(value):
    assert len(show(value)) <= 60 and "\n" not in show(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("solver.max_iter=true", "found true, expected an integer"),
        ("solver.max_iter=1.5", "found 1.5, expected an integer"),
        ("solver.max_iter='5'", "found '5', expected an integer"),
        ("solver.max_iter=0", "found 0, expected a value greater than 0"),
        ("solver.lr=true", "found true, expected a number"),
        ("solver.lr=.inf", "found inf, expected a finite number"),
        ("solver.lr=.nan", "found nan, expected a finite number"),
        ("solver.lr=1e999", "found inf, expected a finite number"),
        ("model.mask=yes", "found 'yes', expected true or false"),
        ("model.mask=1", "found 1, expected true or false"),
        ("data.root=5", "found 5, expected text (put quotes"),
        ("data.min_sizes=640", "found 640, expected a list"),
        ("data.min_sizes=[]", "found [], expected at least 1 entries"),
        (
            "model.rpn=[1]",
            "found [1], expected a section, that is, indented '",
        ),
        ("solver.lr.x=1", "found a section with the keys x, expected a number"),
        (
            "model.rpn.iou_thresholds=[0.7, 0.3]",
            "found [0.7, 0.3], expected the lower threshold first",
        ),
        ("evaluation.patience=0", "found 0, expected a value greater than 0"),
        ("evaluation.max_detections=50", "found 50, expected a value greater than or equal to 100"),
        ("solver.amp=bf8", "found 'bf8', expected one of 'auto', 'bf16', 'fp16' or 'off'"),
        ("data.root=[" + "a" * 80 + "]", "found ['" + "a" * 55 + "..., expected text"),
    ],
)
def test_wrong_values(override, message):
    (found,) = errors_of("quickstart", [override])
    assert found.startswith(f"{override.partition('=')[0].removesuffix('.x')} (command line): ")
    assert message in found


def test_wrong_entries_of_lists_are_named_by_index():
    assert errors_of("quickstart", ["data.min_sizes=[1, two, true]"]) == [
        "data.min_sizes[1] (command line): found 'two', expected an integer",
        "data.min_sizes[2] (command line): found true, expected an integer",
    ]
    (short,) = errors_of("quickstart", ["model.pixels.mean=[1, 2]"])
    assert short.startswith("model.pixels.mean[2] (command line): found [1, 2], expected one more")
    (long,) = errors_of("quickstart", ["model.pixels.mean=[1, 2, 3, 4]"])
    assert long.endswith("expected at most 3 entries")


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("modell", "did you mean model?"),
        ("model.backbone.depth", "did you mean model.backbone.name?"),
        ("model.backbone.zzz", "the keys of model.backbone are name, weights, norm, freeze_at"),
        ("max_iter", "did you mean solver.max_iter?"),
        ("solver.period", "did you mean evaluation.period or checkpoint.period?"),
        ("data.shapes.sead", "did you mean data.shapes.seed?"),
        ("backbone.name", "did you mean model.backbone?"),
        ("solver.freez_at", "did you mean model.backbone.freeze_at?"),
        ("solver.learning_rate", "did you mean solver.lr?"),
        ("solver.base_lr", "did you mean solver.lr?"),
        ("solver.Lr", "did you mean solver.lr?"),
        ("lr", "did you mean solver.lr?"),
        ("epochs", "did you mean solver.epochs?"),
        ("solver.num_epochs", "did you mean solver.epochs?"),
        ("SOLVER.IMS_PER_BATCH", "did you mean solver.batch_size?"),
        ("SOLVER.BASE_LR", "did you mean solver.lr?"),
        ("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "did you mean model.roi.samples_per_image?"),
        ("data.img_size", "did you mean data.min_sizes or data.max_size?"),
        ("num-workers", "did you mean data.workers?"),
        ("optimizer.lr", "did you mean solver.lr?"),
        ("optimizer.type", "did you mean solver.optimizer?"),
        ("lr_config.step", "did you mean solver.milestones?"),
        ("qqq", "the keys at the top are name, output, seed"),
        ("_base_", "the keys at the top are"),
    ],
)
def test_unknown_keys_come_with_what_was_probably_meant(key, advice):
    (message,) = errors_of("quickstart", [f"{key}=1"])
    assert f"(command line): unknown key; {advice}" in message


@pytest.mark.parametrize(
    ("override", "key"),
    [("data=coco.yaml", "data.root"), ("model=x.pt", "model.weights"), ("solver=adamw", "")],
)
def test_a_value_for_a_section_comes_with_the_key_inside_of_it(override, key):
    (message,) = errors_of("quickstart", [override])
    assert "expected a section" in message
    assert message.endswith(f"did you mean {key or 'solver.optimizer'}?")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PATHS), st.data())
def test_a_typo_in_any_key_is_corrected(path, data):
    *parents, word = path
    if len(word) < 4:
        return  # with one letter of "lr" wrong there is little to go by
    at = data.draw(st.integers(1, len(word) - 1))
    typo = word[:at] + data.draw(st.sampled_from(["", word[at] * 2, "q"])) + word[at + 1 :]
    if any(known[-1] == typo for known in PATHS):
        return
    messages = errors_of("quickstart", [".".join((*parents, typo)) + "={}"])
    assert len(messages) == 1
    assert "unknown key; did you mean " in messages[0]
    assert word in messages[0]
