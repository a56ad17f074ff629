"""Takes the weights out of a checkpoint's dictionaries, and prefixes off their names."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.text import listing
from resnet_backbone.weights.blanks import Blank
from resnet_backbone.weights.embedded import EXTRA_STATE

logger = logging.getLogger(__name__)

# Where scripts store weights beside their other state, the plain ones before their averages. DINO's
# teacher is the average that its authors evaluate. "base_model" and "trunk" are VISSL's, online and
# target network BYOL's.
_AVERAGES = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema_state", "ema", "params_ema"),
    "target_network_state_dict",
)
_WRAPPERS = (
    *("state_dict", "model", "model_state", "model_state_dict", "net", "network", "weights"),
    "params",
    *("classy_state_dict", "base_model", "trunk", "module", "blobs", "teacher", "student"),
    *("backbone", "backbone_state_dict", "encoder", "encoder_state_dict"),
    "online_network_state_dict",
    *_AVERAGES,
)
_MAX_TENSORS = 50_000  # the deepest network here, of 1202 layers, has 7,000
_MAX_NOTE, _MAX_CONFIG = 100, 2**16  # characters
_MAX_DEPTH = 8  # of wrappers in wrappers
_PREFIXES = ("module.", "model.", "net.", "encoder.", "resnet.", "backbone.")
# What torch puts into names wherever a module was wrapped.
_INSIDE = re.compile(r"(?<![^.])_(?:orig_mod|fsdp_wrapped_module|checkpoint_wrapped_module)\.")
# Contrastive pairs: the network that is trained by gradients, not its slow copy.
_QUERIES = ("encoder_q.", "base_encoder.")
# Parts that self-supervised training throws away afterwards, with what their siblings are under.
_PRETEXT = (
    *("head.mlp.", "head.last_layer.", "projector.", "projection_head.", "prototypes."),
    *("predictor.", "queue"),
)
_PRETEXT_NORM = "bn."  # Barlow Twins'
_TRUNKS = ("backbone.", "encoder.")
# Parts of detectors, whose names belong together.
_DETECTOR = (
    *("neck.", "rpn", "roi_head", "proposal_generator.", "bbox_head.", "mask_head."),
    *("backbone.bottom_up.", "backbone.fpn", "backbone.body."),
)
_COUNT = "n_averaged"  # of torch's AveragedModel
_CAFFE2_STATE = ("lr", "model_iter", "weight_order")
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def state_dict_in(content: object, source: str, *, strip: bool = True) -> dict[str, Tensor]:
    """Returns the weights inside what a checkpoint file held, without wrappers.

    Dictionaries are entered at the keys that training scripts use ("state_dict", "model",
    "model_state", "blobs" and so on); averages such as "model_ema" are used only if there is
    nothing else, and a warning says that other weights of the same names are there. Prefixes that
    all names share ("module.", "model." and so on) are removed. Files of MoCo, DINO and similar
    methods give the backbone without projection heads. Names of detectors keep "backbone.". Numbers
    and text among the tensors are left out.

    Args:
        content: Mappings with tensors or numpy arrays.
        source: The file's name, for messages.
        strip: False keeps all names and tensors as they are.

    Raises:
        WeightsError: there are no weights in it, or something other than dense tensors.
    """
    mapping, caffe2 = _unwrap(content)
    if not isinstance(mapping, Mapping) or not mapping:
        raise WeightsError(f"{source}: expected a dictionary of tensors, found {_kind(mapping)}")
    if len(mapping) > _MAX_TENSORS:
        raise WeightsError(f"{source}: has {len(mapping)} entries, more than {_MAX_TENSORS}")
    tensors = {
        name: _tensor(name, value, source)
        for name, value in mapping.items()
        if not _is_plain(value) and not _is_state(name, caffe2)
    }
    if not tensors:
        objects = sorted({value.of for value in mapping.values() if isinstance(value, Blank)})
        advice = f" (objects of {listing(objects)}; save their state_dict())" if objects else ""
        raise WeightsError(
            f"{source}: expected tensors, found only {', '.join(map(_shown, list(mapping)[:5]))}"
            f"{advice}"
        )
    _say_what_is_left_out(content, mapping, source)
    return _bare(tensors) if strip else tensors


def notes_in(content: object) -> dict[str, str]:
    """Returns the texts beside the weights by their place, outer ones first.

    Places are such as "arch" and "args.model": dictionaries and the attributes of objects of any
    class are entered. Of several lines, or of a list, are texts of configurations and command
    lines; others are left out if they are long.
    """
    notes: dict[str, str] = {}
    level, entered = [("", content)], set()
    for _ in range(_MAX_DEPTH):
        inner: list[tuple[str, object]] = []
        for place, value in level:
            fields = value.fields if isinstance(value, Blank) else value
            if isinstance(fields, Mapping) and id(fields) not in entered:
                entered.add(id(fields))  # a pickle may hold one dictionary in many places
                inner += [(_below_place(place, key), item) for key, item in fields.items()]
        for place, value in inner:
            text = _text_of(value)
            if text is not None and len(text) <= _longest(text):
                notes.setdefault(place, text)
        level = inner
    return notes


def _text_of(value: object) -> str | None:
    """Returns a text, or the lines that a list of texts makes; None for anything else."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return value if isinstance(value, str) else None


def _longest(text: str) -> int:
    return _MAX_CONFIG if "\n" in text or text.startswith("{") else _MAX_NOTE


def _below_place(place: str, key: object) -> str:
    """Returns the place of an entry; private attributes, as of OmegaConf's nodes, add nothing."""
    name = f"{key:.{_MAX_NOTE}}" if isinstance(key, str) else type(key).__name__
    if name.startswith("_"):
        return place
    return f"{place}.{name}" if place else name


def _unwrap(content: object) -> tuple[object, bool]:
    """Returns the innermost wrapped mapping, and whether it is Caffe2's."""
    caffe2 = False
    for _ in range(_MAX_DEPTH):
        key = _wrapper(content)
        if not isinstance(content, Mapping) or key is None:
            break
        content, caffe2 = content[key], caffe2 or key == "blobs"
    return content, caffe2


def _wrapper(content: object) -> str | None:
    if not isinstance(content, Mapping):
        return None
    named = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    filled = [key for key in named if any(map(_is_tensor_or_mapping, content[key].values()))]
    if not named and not any(map(_is_tensor, content.values())):
        # A script's own key, where only one entry has weights in it: as they are, or wrapped.
        others = [key for key, value in content.items() if _has_tensors(value)]
        others = others or [key for key, value in content.items() if _has_wrapped(value)]
        return others[0] if len(others) == 1 else None
    return next(iter(filled or named), None)


def _is_tensor_or_mapping(value: object) -> bool:
    return isinstance(value, Mapping) or _is_tensor(value)


def _is_tensor(value: object) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _has_tensors(value: object) -> bool:
    return isinstance(value, Mapping) and any(_is_tensor(item) for item in value.values())


def _has_wrapped(value: object) -> bool:
    return isinstance(value, Mapping) and any(_has_tensors(value.get(key)) for key in _WRAPPERS)


def _say_what_is_left_out(content: object, mapping: Mapping[Any, Any], source: str) -> None:
    objects = sorted({value.of for value in mapping.values() if isinstance(value, Blank)})
    if objects:
        logger.warning("%s: left out objects that are no tensors: %s", source, listing(objects))
    names = _bare_names(mapping)
    for _ in range(_MAX_DEPTH):
        chosen = _wrapper(content)
        if not isinstance(content, Mapping) or chosen is None:
            return
        others = [key for key in content if key != chosen and _has(content[key], names)]
        if others:
            logger.warning(
                "%s: took the weights at %r; others of the same names, such as averages, are not"
                " used: at %s; to use them, save them alone as {'state_dict': weights}",
                *(source, chosen, listing([repr(key) for key in others])),
            )
        elif chosen in _AVERAGES:
            logger.info("%s: took the averaged weights at %r", source, chosen)
        content = content[chosen]


def _has(content: object, names: set[str]) -> bool:
    """Returns whether weights with most of the names are in an entry, below whatever prefix."""
    return 2 * len(_bare_names(_unwrap(content)[0]) & names) > len(names)


def _bare_names(mapping: object) -> set[str]:
    if not isinstance(mapping, Mapping):
        return set()
    tensors = {n: t for n, t in mapping.items() if isinstance(n, str) and _is_tensor(t)}
    return set(_bare({name: tensor for name, tensor in tensors.items() if name != _COUNT}))


def _is_state(name: object, caffe2: bool) -> bool:
    """Returns whether a tensor of that name belongs to the solver or an average, or is a card."""
    if not isinstance(name, str):
        return False
    return (
        name == _COUNT
        or name.endswith(EXTRA_STATE)
        or (caffe2 and (name in _CAFFE2_STATE or name.endswith("_momentum")))
    )


def _is_plain(value: object) -> bool:
    if isinstance(value, Blank):
        return True
    items = value if isinstance(value, (list, tuple, set)) else (value,)
    return all(isinstance(item, _PLAIN) for item in items)


def _tensor(name: object, value: object, source: str) -> Tensor:
    if isinstance(value, np.ndarray):
        value = _from_numpy(value)
    if isinstance(name, str) and isinstance(value, Tensor) and _is_dense(value):
        return value.detach()
    advice = "; save the weights alone, as {'state_dict': weights}"
    raise WeightsError(
        f"{source}: expected dense tensors, found {_kind(value)} at {_shown(name)}"
        f"{advice if isinstance(value, Mapping) else ''}"
    )


def _from_numpy(array: np.ndarray) -> Tensor | np.ndarray:
    """Copies an array of numbers; returns any other array as it is."""
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        return array
    # Byte orders and axis orders that torch does not have.
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


def _is_dense(tensor: Tensor) -> bool:
    """Returns whether `tensor` has a number in memory for each of its elements."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return False
    # A view of one number can be of any size, and is when somebody wants our memory.
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _shown(name: object) -> str:
    """Returns a key in a form that is short enough for a message."""
    return f"{name!r:.100}" if isinstance(name, (str, int)) else f"a {type(name).__name__}"


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {value.layout} {value.dtype} tensor on {value.device}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return "nothing" if isinstance(value, Mapping) and not value else type(value).__name__


def _bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Removes prefixes and pretext heads until there are none."""
    tensors = {_INSIDE.sub("", name): tensor for name, tensor in tensors.items()}
    while True:
        shorter = _without_pretext(_without_prefix(tensors))
        if list(shorter) == list(tensors):
            return tensors
        tensors = shorter


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if any(name.startswith(_DETECTOR) for name in tensors):
        return tensors
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _below(tensors, prefix)
    return tensors


def _without_pretext(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _QUERIES:
        if any(name.startswith(prefix) for name in tensors):
            return _without_classifier(_below(tensors, prefix))
    if not any(name.startswith(_PRETEXT) for name in tensors):
        return tensors
    others = _without(tensors, (*_PRETEXT, _PRETEXT_NORM))
    for prefix in _TRUNKS:
        if any(name.startswith(prefix) for name in others):
            return _without_classifier(_below(others, prefix))
    return others or tensors


def _without_classifier(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Removes the last layer, which in these files is a projection for the pretext task."""
    return _without(tensors, ("fc.",)) or tensors


def _without(tensors: dict[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    return {n: tensor for n, tensor in tensors.items() if not n.startswith(tuple(prefixes))}


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n[len(prefix) :]: tensor for n, tensor in tensors.items() if n.startswith(prefix)}
