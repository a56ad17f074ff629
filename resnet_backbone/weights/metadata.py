"""The text that a weight file stores beside its tensors: read by a schema with bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, StrictInt, StrictStr, TypeAdapter, ValidationError

from resnet_backbone.errors import WeightsError

CLASS_NAMES, CATEGORY_IDS, CONFIG = "class_names", "category_ids", "config"
_MAX_TEXT = 2**24  # characters of one entry; COCO's 80 names have 800
_MAX_CLASSES = 100_000
_MAX_NAME = 1000  # characters
_MAX_ID = 2**53  # of JSON's integers; larger ones are not exact everywhere
_MAX_ERRORS = 5

_NAMES: TypeAdapter[list[str]] = TypeAdapter(
    Annotated[
        list[Annotated[StrictStr, Field(max_length=_MAX_NAME)]], Field(max_length=_MAX_CLASSES)
    ]
)
_IDS: TypeAdapter[list[int]] = TypeAdapter(
    Annotated[
        list[Annotated[StrictInt, Field(ge=-_MAX_ID, le=_MAX_ID)]], Field(max_length=_MAX_CLASSES)
    ]
)
Schema = TypeVar("Schema", bound=BaseModel)


class _Kind(BaseModel):
    """What a configuration is for."""

    task: str = "detection"


def class_names_in(text: Mapping[str, str], source: str) -> tuple[str, ...] | None:
    """Returns the names of a file's classes; None if it does not name them.

    Raises:
        WeightsError: the entry is not a list of short texts.
    """
    return _listed(_NAMES, text, CLASS_NAMES, source)


def category_ids_in(text: Mapping[str, str], source: str) -> tuple[int, ...] | None:
    """Returns the COCO category ids of a file's classes; None if it has none.

    Raises:
        WeightsError: the entry is not a list of integers.
    """
    return _listed(_IDS, text, CATEGORY_IDS, source)


def section_in(
    schema: type[Schema], text: Mapping[str, str], key: str, source: str
) -> Schema | None:
    """Returns an entry in JSON as `schema` describes it; None if there is no such entry.

    Raises:
        WeightsError: the entry does not follow the schema; the message has the first errors.
    """
    return None if key not in text else _valid(schema.model_validate_json, text[key], key, source)


def task_in(text: Mapping[str, str], source: str) -> str | None:
    """Returns the task of the run whose configuration one of our files contains; None without.

    Raises:
        WeightsError: the configuration is damaged.
    """
    kind = section_in(_Kind, text, CONFIG, source)
    return None if kind is None else kind.task


def config_in(schema: type[Schema], text: Mapping[str, str], source: str) -> Schema | None:
    """Returns the configuration of a run that one of our files contains; None if it has none.

    Raises:
        WeightsError: it is for another task than `schema`, or does not follow it.
    """
    task, expected = task_in(text, source), schema.model_fields["task"].default
    if task is not None and task != expected:
        raise WeightsError(
            f"{source}: not for {expected}: its configuration is for the task {task!r:.80}"
        )
    return section_in(schema, text, CONFIG, source)


def _listed(
    adapter: TypeAdapter[list[Any]], text: Mapping[str, str], key: str, source: str
) -> tuple[Any, ...] | None:
    if key not in text:
        return None
    return tuple(_valid(adapter.validate_json, text[key], key, source))


def _valid(validate: Any, value: str, key: str, source: str) -> Any:  # noqa: ANN401
    if len(value) > _MAX_TEXT:
        raise WeightsError(f"{source}: its {key} has {len(value)} characters, over {_MAX_TEXT}")
    try:
        return validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        reasons = [f"{_place(e['loc'])}{e['msg']}" for e in found[:_MAX_ERRORS]]
        if len(found) > _MAX_ERRORS:
            reasons.append(f"{len(found) - _MAX_ERRORS} more")
        raise WeightsError(f"{source}: cannot read its {key}: {'; '.join(reasons)}") from error


def _place(path: tuple[int | str, ...]) -> str:
    """Returns where an error is, shortened, since a file may have keys of any length."""
    return f"{'.'.join(map(str, path)):.80}: " if path else ""
