"""The page of all keys is that of the schema, and its examples are what the loader reads."""

import functools
from pathlib import Path

import pytest

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.detectron2_keys import KEYS as DETECTRON2_KEYS
from resnet_backbone.config.load import load_any_config
from resnet_backbone.config.reference import configuration_page, example, sections, values
from resnet_backbone.config.schema import Config
from resnet_backbone.utils.synonyms import KEYS, ULTRALYTICS
from resnet_backbone.utils.trees import leaves

ROOT = Path(__file__).resolve().parents[2]
TASKS = {"coco_mrcnn_r50": Config, "imagenet_r50": ClassificationConfig}


def fields(task):
    return {k: f for name, kind in sections(task) for k, f in values(name, kind).items()}


CASES = [(name, key) for name, task in TASKS.items() for key in fields(task)]


def test_the_page_in_docs_is_that_of_the_schema():
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    command = "python -m resnet_backbone.config.reference > docs/configuration.md"
    assert written == configuration_page(), f"write it again: {command}"


@pytest.mark.parametrize("name", TASKS)
def test_every_leaf_of_a_configuration_is_a_key_of_the_page(name):
    config = load_any_config(name).model_dump(exclude={"overrides"})
    unknown = {key for key, _ in leaves(config)} - set(fields(TASKS[name]))
    assert unknown <= {"data.shapes"}  # null; its own keys are on the page


@pytest.mark.parametrize(("name", "key"), CASES)
def test_every_key_has_a_meaning_and_an_example(name, key):
    field = fields(TASKS[name])[key]
    assert field.description
    assert example(key, field) is not None


# Where the example of a key does not fit the defaults of the others.
BESIDE = {"data.progressive": ("data.crop=random_resized",)}


@pytest.mark.parametrize(("name", "key"), CASES)
def test_every_example_is_read_as_written(name, key):
    field = fields(TASKS[name])[key]
    config = load_any_config(name, (*BESIDE.get(key, ()), example(key, field)))

    default = field.get_default(call_default_factory=True)
    changed = not default if isinstance(default, bool) else default
    expected = field.examples[0] if field.examples else changed
    assert functools.reduce(getattr, key.split("."), config) == expected


def test_names_of_other_frameworks_belong_to_keys_that_exist():
    known = {key for task in TASKS.values() for key in fields(task)}
    assert set(ULTRALYTICS) <= known
    assert set(KEYS) <= known
    targets = {key.target for key in DETECTRON2_KEYS.values() if key.target}
    assert targets <= known


def test_no_key_has_the_same_name_of_another_framework_twice():
    assert not [key for key, name in ULTRALYTICS.items() if name in KEYS.get(key, "").split()]
