"""Backbones from timm and from users, with the same interface as `ResNet`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from resnet_backbone.backbone.convert_norm import convert_norms
from resnet_backbone.backbone.from_timm import PREFIX, build_timm
from resnet_backbone.backbone.resnet import Options
from resnet_backbone.backbone.spec import FeatureSpec
from resnet_backbone.backbone.variants import BACKBONES, Variant
from resnet_backbone.errors import ConfigError

UNKNOWN_DIVISOR = 32  # suits a network whose strides go up to 32
_BUILDER = "builder(out_features, **options)"


def is_foreign(name: str) -> bool:
    """Returns whether `name` is "timm/..." or was registered by a user."""
    if name.startswith(PREFIX):
        return True
    return name in BACKBONES and not isinstance(BACKBONES.get(name), Variant)


def weights_are_timms(weights: object) -> bool:
    """Returns whether `weights` is "timm" or "timm/TAG", which `build_foreign` loads itself."""
    return isinstance(weights, str) and (weights == "timm" or weights.startswith(PREFIX))


def build_foreign(
    name: str,
    *,
    out_features: Sequence[str] | None = None,
    options: Options,
    extra: Mapping[str, Any] = MappingProxyType({}),
    weights: str | None = None,
) -> nn.Module:
    """Builds a backbone from timm or from a user's builder.

    A user's builder is called as `builder(out_features=..., **options)` with the options that its
    signature names, or with all options if it has `**options`. It must not ignore an option that it
    takes. If it does not take `norm`, its batch normalisations are converted afterwards.

    Args:
        name: "timm/NAME" or a registered name.
        out_features: Names of the features to return; None leaves the choice to the network.
        options: See `create_backbone`. Options that the network does not support must have their
            default.
        extra: Further arguments for the builder, or for `timm.create_model`.
        weights: "timm" or "timm/TAG" for timm's networks; other weights are loaded afterwards.

    Returns:
        A module whose forward maps float[B, C, H, W] to dict[str, Tensor] with the keys of
        `feature_specs()`. It is not frozen yet, see `freeze_foreign`.

    Raises:
        ConfigError: the network does not support what is asked, or lacks part of the interface.
        WeightsError: timm has no such weights, or cannot download them.
    """
    if name.startswith(PREFIX):
        return build_timm(
            name, out_features=out_features, options=options, extra=extra, weights=weights
        )
    if weights is not None:
        raise ConfigError(f"weights: {weights!r} is for timm's backbones, but {name} is not one")
    return _build_registered(name, out_features, options, extra)


def freeze_foreign(name: str, module: Any, freeze_at: int) -> None:  # noqa: ANN401
    """Calls `module.freeze(freeze_at)`; a backbone needs this method only if something is frozen.

    Raises:
        ConfigError: `freeze_at` is not 0 and the backbone has no such method.
    """
    if hasattr(module, "freeze"):
        module.freeze(freeze_at)
    elif freeze_at:
        raise ConfigError(
            f"freeze_at: got {freeze_at}, but backbone {name!r} has no method freeze(freeze_at);"
            " define it, or set model.backbone.freeze_at=0"
        )


def size_divisor(module: nn.Module) -> int:
    """Returns what height and width of a backbone's images must be multiples of.

    A user's backbone says so by the attribute `size_divisor`; without it, it is 32.
    """
    return int(getattr(module, "size_divisor", UNKNOWN_DIVISOR))


def _build_registered(
    name: str,
    out_features: Sequence[str] | None,
    options: Options,
    extra: Mapping[str, Any],
) -> nn.Module:
    builder = BACKBONES.get(name)
    if isinstance(builder, Variant):
        raise TypeError(f"{name!r} is a ResNet of this package, not a registered builder")
    arguments = _arguments(name, builder, options)
    try:
        module = builder(out_features=out_features, **arguments, **extra)
    except TypeError as error:
        raise ConfigError(f"backbone {name!r}: {_BUILDER} failed: {error}") from error
    _check_interface(name, module, out_features)
    if "norm" not in arguments:
        convert_norms(module, options.norm)
    return module


def _arguments(name: str, builder: Callable[..., Any], options: Options) -> dict[str, Any]:
    """Returns the options that `builder` takes; ConfigError if it lacks one that is not default."""
    parameters = inspect.signature(builder).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    defaults, accepted = vars(Options()), {}
    for option, value in vars(options).items():
        if takes_all or option in parameters:
            accepted[option] = value
        elif option != "norm" and value != defaults[option]:
            raise ConfigError(
                f"{option}: got {value!r}, but the builder of {name!r} has no such argument"
            )
    return accepted


def _check_interface(name: str, module: object, out_features: Sequence[str] | None) -> None:
    if not (isinstance(module, nn.Module) and hasattr(module, "feature_specs")):
        raise ConfigError(
            f"backbone {name!r}: {_BUILDER} returned {type(module).__name__}, expected an"
            " nn.Module with feature_specs()"
        )
    specs = module.feature_specs()  # type: ignore[operator]  # nn.Module's attributes have no types
    if not isinstance(specs, Mapping) or not all(
        isinstance(spec, FeatureSpec) for spec in specs.values()
    ):
        raise ConfigError(
            f"backbone {name!r}: feature_specs() returned {specs!r}, expected a dict of FeatureSpec"
        )
    if out_features is not None and set(specs) != set(out_features):
        raise ConfigError(
            f"backbone {name!r}: feature_specs() has {', '.join(specs)}, expected exactly the"
            f" out_features {', '.join(out_features)}"
        )
