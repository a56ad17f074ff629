"""Turns pydantic's errors into sentences: what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
import functools
import typing
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from resnet_backbone.config.detectron2_keys import KEYS as DETECTRON2_KEYS
from resnet_backbone.utils.synonyms import keys_for
from resnet_backbone.utils.trees import leaves

_SECTION = "a section, that is, indented 'key: value' lines below it"
_EXPECTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text (put quotes around it if it looks like a number)",
    "tuple_type": "a list",
    "missing": "one more entry",
    "model_type": _SECTION,
    "dict_type": _SECTION,
    "int_parsing_size": "a smaller integer",
}

# What a value in place of a section is probably meant for.
_MEANT_BY_SECTION = {
    "data": "data.root",
    "data.train": "data.train.annotations",
    "data.val": "data.val.annotations",
    "model": "model.weights",
    "model.backbone": "model.backbone.name",
    "solver": "solver.optimizer",
}


def dotted(place: tuple[str | int, ...]) -> str:
    """Returns `("a", "b", 2)` as "a.b[2]"."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def is_echo(error: ErrorDetails) -> bool:
    """Whether a list is called too short because its wrong entries, named too, do not count."""
    if error["type"] != "too_short":
        return False
    return len(error["input"]) >= error["ctx"]["min_length"]


def describe(error: ErrorDetails, schema: type[BaseModel]) -> str:
    """Returns one validation error of `schema` as a sentence, without its location."""
    if error["type"] == "extra_forbidden":
        return f"unknown key; {_suggestion(error['loc'], error['input'], schema)}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    told = f"found {show(error['input'])}, expected {_expected(error)}"
    return f"{told}{_inside(error, schema)}"


def _inside(error: ErrorDetails, schema: type[BaseModel]) -> str:
    """Suggests a key inside of a section that a value was given for, as in data=/data/coco."""
    place = dotted(error["loc"])
    if error["type"] != "model_type" or place not in _MEANT_BY_SECTION:
        return ""
    key = _MEANT_BY_SECTION[place]
    return f"; did you mean {key}?" if tuple(key.split(".")) in _key_paths(schema) else ""


def _expected(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] in ("too_short", "too_long"):
        bound = "min" if error["type"] == "too_short" else "max"
        words = {"min": "at least", "max": "at most"}
        return f"{words[bound]} {context[f'{bound}_length']} entries"
    if error["type"] == "literal_error":
        return f"one of {context['expected']}"
    if error["type"] == "missing" and isinstance(error["loc"][-1], str):
        return "this key too, which has no default"
    if error["type"] in _EXPECTED:
        return _EXPECTED[error["type"]]
    return f"a value {error['msg'].removeprefix('Input should be ')}"


def meant_keys(place: tuple[str, ...], schema: type[BaseModel]) -> list[str]:
    """Returns the dotted keys that a wrong key probably means, best first; none without a guess.

    These are what other frameworks mean by this name, the same name in another section, or a
    similar name.
    """
    *parents, wrong = place
    known = _key_paths(schema)
    dots = [dotted(path) for path in known]
    theirs = DETECTRON2_KEYS.get(".".join(place))
    if theirs is not None and theirs.target in dots:
        return [theirs.target]
    plain = wrong.lower().replace("-", "_")
    meant = keys_for(plain, dots) or [dotted(path) for path in known if path[-1] == plain]
    if not meant:
        siblings = {path[-1]: dotted(path) for path in known if path[:-1] == tuple(parents)}
        meant = [siblings[name] for name in difflib.get_close_matches(wrong, siblings, n=1)]
    if not meant:
        words = difflib.get_close_matches(wrong, {path[-1] for path in known}, n=1, cutoff=0.75)
        meant = [dotted(path) for path in known if path[-1] in words]
    return meant[:3]


def _suggestion(place: tuple[str | int, ...], value: object, schema: type[BaseModel]) -> str:
    """Suggests the keys that were meant by an unknown key, or by the keys in an unknown section."""
    names = tuple(map(str, place))
    known = _key_paths(schema)
    meant: list[str] = []
    sections = {key.rpartition(".")[2] for key in section_names(schema)}
    if isinstance(value, Mapping) and names[-1] not in sections:
        for inner in islice(leaves(value), 3):
            meant += meant_keys((*names, *inner[0].split(".")), schema)[:1]
    meant = meant or meant_keys(names, schema)
    if meant:
        return f"did you mean {' or '.join(dict.fromkeys(meant))}?"
    *parents, _ = names
    siblings = [path[-1] for path in known if path[:-1] == tuple(parents)]
    section = f"of {dotted(tuple(parents))}" if parents else "at the top"
    return f"the keys {section} are {', '.join(siblings)}"


def section_names(schema: type[BaseModel]) -> set[str]:
    """Returns the dotted keys that are sections, with keys of their own."""
    return {dotted(path[:-1]) for path in _key_paths(schema) if len(path) > 1}


@functools.cache
def _key_paths(schema: type[BaseModel]) -> tuple[tuple[str, ...], ...]:
    """Returns the path of every key in the schema, sections included."""
    return tuple(_walk(schema))


def _walk(section: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Yields the path of every key in a section."""
    for name, field in section.model_fields.items():
        yield (name,)
        for kind in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from ((name, *rest) for rest in _walk(kind))


def show(value: Any) -> str:  # noqa: ANN401
    """Returns a value as it would be written in YAML, shortened to fit on a line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"a section with the keys {', '.join(map(str, value)) or '(none)'}"[:80]
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
