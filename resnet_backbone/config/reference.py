"""The page docs/configuration.md, which explains every key, as Markdown.

`python -m resnet_backbone.config.reference > docs/configuration.md` writes it.
"""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.detectron2_keys import KEYS as DETECTRON2_KEYS
from resnet_backbone.config.run_schema import RunConfig, SolverConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.utils.synonyms import ULTRALYTICS

_INTRODUCTION = """\
# Configuration

A file holds only what differs from the defaults, or from the file that its `_base_` names. On the
command line, write the examples as they stand here, in single quotes. The last two columns have the
nearest key of other frameworks; its unit or default may differ (warm-up in epochs, for example).
`resnet-backbone train --config ... --print-config` prints every key of a run, its value, the file
and line where it was written, and what the batch size makes of it.

<!-- Written by `python -m resnet_backbone.config.reference > docs/configuration.md`. -->
"""
_HEAD = """\
| Key | Type | Default | Meaning | Example | detectron2 | ultralytics |
|---|---|---|---|---|---|---|"""
_SHARED = ("", "solver", "checkpoint")
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
_NAMES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}


def configuration_page() -> str:
    """Returns the page in Markdown: the keys that all runs have, then those of each task."""
    parts = [_INTRODUCTION, "## Any run\n"]
    parts += [_section(name, kind) for name, kind in sections(RunConfig) if name in _SHARED]
    parts += [_other_defaults(), "## Detectors: `resnet-backbone train`\n"]
    parts += [_section(name, kind) for name, kind in sections(Config) if name not in _SHARED]
    parts += ["## Classifiers: `resnet-backbone pretrain`\n"]
    classification = sections(ClassificationConfig)
    parts += [_section(name, kind) for name, kind in classification if name not in _SHARED]
    return "\n".join(parts)


def sections(task: type[BaseModel], name: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yields the dotted name and the class of a section and of all sections inside it."""
    yield name, task
    for key, field in task.model_fields.items():
        inner = _inner(field)
        if inner is not None:
            yield from sections(inner, _dotted(name, key))


def values(name: str, section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Returns the fields of a section that can be set, but not its sections, by dotted key."""
    fields = section.model_fields.items()
    return {_dotted(name, key): f for key, f in fields if _inner(f) is None and key != "overrides"}


def example(key: str, field: FieldInfo) -> str | None:
    """Returns an argument "key=value" with the schema's example, or else with the default.

    None if there is neither.
    """
    value = field.examples[0] if field.examples else field.get_default(call_default_factory=True)
    if isinstance(value, bool) and not field.examples:
        value = not value  # the only one that changes anything
    return None if value in (None, ()) else f"{key}={_yaml(value)}"


def _dotted(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _inner(field: FieldInfo) -> type[BaseModel] | None:
    """Returns the class of the section that a field holds, None if it holds a value."""
    kinds = (field.annotation, *typing.get_args(field.annotation))
    found = (kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, BaseModel))
    return next(found, None)


def _section(name: str, section: type[BaseModel]) -> str:
    """Returns heading, meaning and table of one section."""
    schema = section.model_json_schema()["properties"]
    title = f"### {name}\n\n{inspect.getdoc(section)}\n\n" if name else ""
    fields = values(name, section)
    rows = [_row(key, field, schema[key.rpartition(".")[2]]) for key, field in fields.items()]
    return title + "\n".join((_HEAD, *rows)) + "\n" if rows else title


def _row(key: str, field: FieldInfo, schema: Mapping[str, Any]) -> str:
    theirs = [name for name, known in DETECTRON2_KEYS.items() if known.target == key]
    cells = (
        _code(key.rpartition(".")[2]),
        _type(schema),
        "required" if field.is_required() else _code(_default(field)),
        field.description or "",
        _code(example(key, field)),
        ", ".join(map(_code, theirs)),
        _code(ULTRALYTICS.get(key)),
    )
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _type(schema: Mapping[str, Any]) -> str:
    """Returns a JSON schema in words, such as "integer above 0, or null"."""
    if "anyOf" in schema:
        return ", or ".join(_type(part) for part in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return ", ".join(_code(str(word)) for word in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return _list(schema)
    bounds = [words.format(f"{schema[key]:g}") for key, words in _BOUNDS.items() if key in schema]
    kind = schema.get("type", "any value")
    return f"{_NAMES.get(kind, kind)} {' and '.join(bounds)}".strip()


def _list(schema: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        parts = [_type(part) for part in schema["prefixItems"]]
        same = len(set(parts)) == 1
        return f"[{len(parts)} × {parts[0]}]" if same else f"[{', '.join(parts)}]"
    return f"[{_type(schema['items'])}, ...]"


def _default(field: FieldInfo) -> str:
    return _yaml(field.get_default(call_default_factory=True))


def _other_defaults() -> str:
    """Returns a sentence on the solver's defaults for classifiers."""
    solver = ClassificationConfig.model_fields["solver"].default
    other = [
        _code(f"{key}: {_yaml(getattr(solver, key))}")
        for key, field in SolverConfig.model_fields.items()
        if getattr(solver, key) != field.default
    ]
    return f"Classifiers have other defaults of `solver`: {', '.join(other)}.\n"


def _yaml(value: Any) -> str:  # noqa: ANN401
    """Returns a value as YAML on one line, without spaces between the items of a list."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    sys.stdout.write(configuration_page())
