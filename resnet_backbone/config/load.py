"""Loads a configuration from a file name and `key=value` arguments, and checks it.

Each layer overrides the one before: the schema's defaults, the chain of `_base_` files, the file,
the command line. Mappings are merged key by key, all other values are replaced. All errors are
reported together, each with its dotted key, where it was written, what was found and what was
expected. A detectron2 file is translated, see `detectron2_yaml`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.detectron2_settings import is_detectron2
from resnet_backbone.config.detectron2_yaml import translate
from resnet_backbone.config.draft import MAX_BASES, Draft
from resnet_backbone.config.explain import meant_keys, section_names, show
from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.config.strict_yaml import Keys, read_file, write_text
from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.shipped import shipped_folder

C = TypeVar("C", Config, ClassificationConfig)

_File: TypeAlias = tuple[Path, dict[str, Any], dict[Keys, int]]


def load_config(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Returns the checked, frozen configuration of a detector's run.

    Args:
        name_or_path: A file in this package's or detectron2's format, or the name of a shipped
            configuration ("coco_frcnn_r101.yaml", or without ".yaml").
        overrides: "key.path=value" arguments, each value in YAML notation. If a key is set twice,
            the last value counts. They are recorded in `Config.overrides`. For a detectron2 file
            its keys can be set as well; ours take precedence.

    Raises:
        ConfigError: there is no such file, it is for another task, or there are errors in it, in
            its bases or in the overrides. The message lists every error, unless a file cannot be
            parsed at all.
    """
    config = load_any_config(name_or_path, overrides)
    if not isinstance(config, Config):
        raise ConfigError(
            f"{name_or_path} is for task {config.task}, expected detection; to train a classifier "
            "use resnet-backbone pretrain (tools/pretrain.py)"
        )
    return config


def load_classification_config(
    name_or_path: str | Path, overrides: Sequence[str] = ()
) -> ClassificationConfig:
    """Returns the checked, frozen configuration of a classifier's run, see `load_config`."""
    config = load_any_config(name_or_path, overrides)
    if not isinstance(config, ClassificationConfig):
        raise ConfigError(
            f"{name_or_path} is for task {config.task}, expected classification; to train a "
            "detector use resnet-backbone train (tools/train_net.py)"
        )
    return config


def load_any_config(
    name_or_path: str | Path, overrides: Sequence[str] = ()
) -> Config | ClassificationConfig:
    """Returns the checked, frozen configuration for the task that the file names.

    The key `task`, at the top level of the file or of one of its bases, selects the schema. See
    `load_config`.
    """
    return load_with_origins(name_or_path, overrides)[0]


def load_with_origins(
    name_or_path: str | Path, overrides: Sequence[str] = ()
) -> tuple[Config | ClassificationConfig, Mapping[Keys, str]]:
    """Returns what `load_any_config` returns, and where each key that is no default was written."""
    path = find_config(name_or_path)
    ours: Sequence[str] = overrides
    if is_detectron2(path):
        translation = translate(path, overrides)
        draft = Draft(Config, path)
        draft.merge(translation.tree, lambda keys: translation.origins.get(keys, str(path)))
        draft.problems += translation.problems
        ours = translation.overrides
    else:
        chain = _file_chain(path)
        draft = Draft(_schema(chain), path)
        for file, tree, lines in reversed(chain):
            draft.merge(tree, _in_file(file, lines))
    for override in ours:
        draft.override(override)
    draft.draw_nothing_for_own_paths()
    config = draft.validate()
    update = {
        "output": config.output.replace("{name}", config.name),
        "overrides": (*config.overrides, *overrides),
    }
    return config.model_copy(update=update), draft.origins


def override_config(config: C, overrides: Sequence[str], source: str) -> C:
    """Returns a configuration with some keys replaced, see `load_config`.

    Args:
        config: The configuration, for example that inside a weight file.
        overrides: "key.path=value" arguments.
        source: Where `config` is from, for messages.
    """
    draft = Draft(type(config), Path(source))
    tree = as_tree(config)
    del tree["overrides"]
    draft.merge(tree, lambda _: source)
    for override in overrides:
        draft.override(override)
    draft.draw_nothing_for_own_paths()
    changed = draft.validate()
    recorded = (*config.overrides, *overrides)
    return changed.model_copy(update={"overrides": recorded})  # type: ignore[return-value]


def dump_config(config: RunConfig) -> str:
    """Returns YAML from which `load_any_config` reads an equal configuration."""
    return write_text(as_tree(config))


def as_tree(config: RunConfig) -> dict[str, Any]:
    """Returns a configuration as plain values, as a file holds them."""
    tree = config.model_dump(mode="json")
    if config.solver.epochs is not None:
        del tree["solver"]["max_iter"]  # not yet known; the schedule's is `reference_max_iter`
    return tree


def find_config(name_or_path: str | Path) -> Path:
    """Returns the given file if it exists, otherwise the shipped configuration of that name.

    Raises:
        ConfigError: neither exists; the message lists similar names.
    """
    name_or_path = os.path.expanduser(name_or_path)
    if os.path.isfile(name_or_path):
        if Path(name_or_path).suffix == ".py":
            raise ConfigError(
                f"{name_or_path}: a Python file, as detectron2's lazy configurations are; only YAML"
                " is read, since Python would have to be run; detectron2's YAML files can be used"
            )
        return Path(name_or_path)
    name = name_or_path.removesuffix(".yaml")
    shipped = list_configs()
    if name in shipped:
        return shipped_folder("configs") / f"{name}.yaml"
    close = difflib.get_close_matches(name, shipped, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"shipped: {', '.join(shipped)}"
    raise ConfigError(
        f"no file {show(name_or_path)}, and no shipped configuration {show(name)}; {hint}"
    )


def keys_meant_by(option: str) -> list[str]:
    """Returns the keys of either task that an option like "--learning-rate" probably means."""
    name = tuple(option.lstrip("-").replace("-", "_").split("."))
    meant = [key for task in (Config, ClassificationConfig) for key in meant_keys(name, task)]
    sections = {key for task in (Config, ClassificationConfig) for key in section_names(task)}
    no_settings = {"overrides", *sections}  # what a run records itself, and keys of mappings
    return [key for key in dict.fromkeys(meant) if key not in no_settings]


def list_configs() -> list[str]:
    """Returns the names of the shipped configurations, sorted."""
    return sorted(path.stem for path in shipped_folder("configs").glob("*.yaml"))


def _schema(chain: Sequence[_File]) -> type[Config] | type[ClassificationConfig]:
    """Returns the schema for a chain of files, which begins with the file that was asked for."""
    task = next((tree["task"] for _, tree, _ in chain if "task" in tree), None)
    return ClassificationConfig if task == "classification" else Config


def _in_file(file: Path, lines: Mapping[Keys, int]) -> Callable[[Keys], str]:
    return lambda keys: f"{file}, line {lines[keys]}"


def _file_chain(path: Path) -> list[_File]:
    """Reads a file and its bases; the result begins with the file itself."""
    chain: list[_File] = []
    seen: list[Path] = []
    root = path.resolve().parent
    current: Path | None = path
    while current is not None:
        _check_chain(seen, current)
        seen.append(current.resolve())
        if current.resolve().is_relative_to(shipped_folder("configs").resolve()):
            root = shipped_folder("configs").resolve()
        tree, lines = read_file(current)
        chain.append((current, tree, lines))
        current = _base_of(current, root, tree.pop("_base_")) if "_base_" in tree else None
    return chain


def _check_chain(seen: Sequence[Path], current: Path) -> None:
    chain = " -> ".join(str(path) for path in (*seen, current.resolve()))
    if current.resolve() in seen:
        raise ConfigError(f"circular _base_: {chain}")
    if len(seen) > MAX_BASES:
        raise ConfigError(f"more than {MAX_BASES} _base_ files in a chain: {chain}")


def _base_of(file: Path, root: Path, base: object) -> Path:
    """Returns the file that `_base_` names, next to `file` or else among the shipped ones.

    Bases are relative and must lie below `root`: the shipped folder, or the folder of the file that
    was asked for. A configuration from an untrusted source must not make us read other files.
    """
    where = f"{file}: _base_ {show(base)}"
    if not isinstance(base, str) or not base:
        raise ConfigError(f"{where}: expected the name of a file")
    if PurePosixPath(base).is_absolute() or any(mark in base for mark in ("\\", ":", "\0")):
        raise ConfigError(
            f"{where}: expected a path relative to this file, with / between names, or the name of"
            " a shipped configuration, such as coco_frcnn_r50.yaml"
        )
    try:
        found = (file.parent / base).resolve()
        if not found.is_relative_to(root):
            raise ConfigError(f"{where}: lies outside of {root}")
        if found.is_file():
            return found
        shipped = shipped_folder("configs") / base
        if ".." not in PurePosixPath(base).parts and shipped.is_file():
            return shipped
    except OSError as error:  # a name that is too long
        raise ConfigError(f"{where}: {error.strerror}") from error
    raise ConfigError(
        f"{where}: no such file in {file.parent}, and no shipped configuration of that name"
    )
