"""timm's models (Wightman, PyTorch Image Models) as backbones, for example "timm/convnext_tiny"."""

from __future__ import annotations

import difflib
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import urlparse
from urllib.request import getproxies

from torch import Tensor, nn

from resnet_backbone.backbone.base import Backbone
from resnet_backbone.backbone.convert_norm import convert_norms, frozen_norm
from resnet_backbone.backbone.resnet import Options
from resnet_backbone.backbone.spec import FeatureSpec
from resnet_backbone.errors import ConfigError, WeightsError

PREFIX = "timm/"
STAGES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}  # strides without dilation
# The options that timm's models support; the others apply only to this package's blocks.
HONOURED = ("norm", "in_channels", "output_stride", "stochastic_depth", "activation_checkpointing")

Body: TypeAlias = Any  # an nn.Module with feature_info; timm's classes have no common base type


class TimmBackbone(Backbone):
    """A timm network with the features and methods of `ResNet`.

    Args:
        name: The backbone's name in the configuration, used in messages.
        body: The result of `timm.create_model(..., features_only=True)` for `out_features`.
        indices: The index of each stage in timm's feature_info.
        out_features: The stages that `body` returns, in ascending order.
    """

    size_divisor = 32  # for transformers; timm does not say which networks take any size

    def __init__(
        self, name: str, body: Body, indices: Mapping[str, int], out_features: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.name = name
        self.body: Body = body
        self.out_features = out_features
        self._info = {stage: body.feature_info.info[index] for stage, index in indices.items()}
        # Some transformers return [B, H, W, C], with the channels last in the shape.
        self._nhwc = str(getattr(body, "output_fmt", "")).endswith("NHWC")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps float[B, in_channels, H, W] to `out_features`, each about float[B, C, H/s, W/s]."""
        maps = self.body(x)
        if self._nhwc:
            maps = [each.permute(0, 3, 1, 2) for each in maps]
        return dict(zip(self.out_features, maps, strict=True))

    def feature_specs(self) -> dict[str, FeatureSpec]:
        """Returns the channels and stride of each of `out_features`, as timm declares them."""
        infos = {stage: self._info[stage] for stage in self.out_features}
        return {s: FeatureSpec(info["num_chs"], info["reduction"]) for s, info in infos.items()}

    def freeze(self, freeze_at: int) -> None:
        """Freezes the first stages, see `ResNet.freeze`.

        The stem is everything before the modules of res2, in the order in which timm registers
        modules. In all models that name their stages this is also the order of computation.

        Raises:
            ConfigError: `freeze_at` is not within 0 to 5, or timm does not say which modules belong
                to the stage.
        """
        if freeze_at not in range(6):
            raise ConfigError(f"freeze_at: got {freeze_at!r}, expected 0 to 5")
        for name in self._names_up_to(freeze_at):
            module = self.body.get_submodule(name)
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                self.body.set_submodule(name, frozen_norm(module))

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Renames the tensors of timm's own model to the names used here.

        timm calls the same weight "stages.0.weight" in the model and "stages_0.weight" in its
        `features_only` wrapper. Names that do not belong to this network are left unchanged.
        """
        own = {_flat(name): name for name in self.state_dict()}
        prefixes = ("body_", "body_model_")  # the latter if timm has wrapped the model twice
        names = {name: [own.get(prefix + _flat(name)) for prefix in prefixes] for name in state}
        return {next(filter(None, names[name]), name): tensor for name, tensor in state.items()}

    def _names_up_to(self, freeze_at: int) -> list[str]:
        """Returns the names of the modules of `body` to freeze, containers and leaves alike."""
        names = [name for name, _ in self.body.named_modules()]
        if freeze_at == 0:
            return []
        if freeze_at > 1 + len(self._info):
            return names
        stage = list(self._info)[max(freeze_at - 2, 0)]
        path = _flat(self._info[stage]["module"])
        parts = [
            index
            for index, name in enumerate(names)
            if f"{_flat(name.removeprefix('model.'))}_".startswith(f"{path}_")
        ]
        if not parts:
            raise ConfigError(
                f"freeze_at: timm does not say which modules of {self.name} belong to {stage};"
                " only 0 is possible"
            )
        return names[: parts[0] if freeze_at == 1 else parts[-1] + 1]


def build_timm(
    name: str,
    *,
    out_features: Sequence[str] | None,
    options: Options,
    extra: Mapping[str, Any] = MappingProxyType({}),
    weights: str | None = None,
) -> TimmBackbone:
    """Builds a timm network as a backbone.

    Args:
        name: "timm/NAME", where NAME may contain timm's tag of the weights.
        out_features: Which of "res2" to "res5" to return; None returns all that the network has.
        options: norm ("BN", "FrozenBN" or "SyncBN", which apply only to batch normalisation),
            in_channels, output_stride, stochastic_depth, activation_checkpointing. All other
            options must have their default.
        extra: Further arguments for `timm.create_model`.
        weights: "timm" for the weights of NAME's tag, or of timm's default tag; "timm/TAG" for
            another tag; None for timm's random initialisation. timm downloads the weights.

    Raises:
        ConfigError: timm is not installed, has no such network, or does not support what is asked.
        WeightsError: there are no such weights, or they cannot be downloaded.
    """
    _refuse_unknown(name)
    _refuse_options(name, options)
    body = _create(name, options, **extra)
    _refuse_ignored_stride(name, body, options.output_stride)
    indices = _stage_indices(body, options.output_stride)
    chosen = _chosen(name, body, indices, out_features)
    more: dict[str, Any] = {**extra, "out_indices": tuple(indices[stage] for stage in chosen)}
    if any(getattr(module, "strict_img_size", False) for module in body.modules()):
        more["strict_img_size"] = False  # detectors take images of many sizes
    if weights is not None:
        body = _create_trained(name, weights, options, more)
    elif more != {**extra, "out_indices": tuple(body.feature_info.out_indices)}:
        body = _create(name, options, **more)
    if options.activation_checkpointing:
        body.set_grad_checkpointing(True)
    convert_norms(body, options.norm)
    return TimmBackbone(name, body, indices, chosen)


def timm_pixels(
    name: str, weights: str | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the mean and standard deviation of RGB pixels (0 to 255) that timm's weights expect.

    Args:
        name: "timm/NAME", as for `build_timm`.
        weights: "timm", "timm/TAG" or None, as for `build_timm`.

    Raises:
        ConfigError: timm is not installed or has no such network.
        WeightsError: timm has no such weights.
    """
    _refuse_unknown(name)
    import timm

    try:
        cfg: Any = timm.get_pretrained_cfg(_with_tag(name, weights or "timm"))
    except RuntimeError as error:
        raise WeightsError(f"{weights}: {error}") from None
    mean, std = (tuple(255 * value for value in part) for part in (cfg.mean, cfg.std))
    return mean, std


def _refuse_unknown(name: str) -> None:
    try:
        import timm
    except ImportError:
        raise ConfigError(f"{name}: timm is not installed; run: pip install timm") from None
    arch = name.removeprefix(PREFIX).partition(".")[0]
    if not timm.is_model(arch):
        close = difflib.get_close_matches(arch, timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(f"{name}: timm {timm.__version__} has no model {arch!r}{hint}")


def _refuse_options(name: str, options: Options) -> None:
    for option, default in vars(Options()).items():
        value = getattr(options, option)
        if option not in HONOURED and value != default:
            raise ConfigError(f"{option}: got {value!r}, but {name} supports only {default!r}")


def _refuse_ignored_stride(name: str, body: Body, output_stride: int) -> None:
    """Raises ConfigError if a network has other strides than asked for; some timm do not say so."""
    strides = [info["reduction"] for info in body.feature_info.info]
    if output_stride != 32 and max(strides) > output_stride:
        raise ConfigError(
            f"{name}: timm cannot build it with these options: it ignores output_stride "
            f"{output_stride}, its maps have the strides {strides}"
        )


def _create(name: str, options: Options, **more: Any) -> Body:  # noqa: ANN401
    """Builds the model; with random weights unless `more` asks for others."""
    import timm

    arguments: dict[str, Any] = {"features_only": True, "in_chans": options.in_channels} | more
    if options.output_stride != 32:
        arguments["output_stride"] = options.output_stride
    if options.stochastic_depth:
        arguments["drop_path_rate"] = options.stochastic_depth
    try:
        return timm.create_model(name.removeprefix(PREFIX), **arguments)
    except (TypeError, AssertionError, NotImplementedError) as error:  # by the model's constructor
        reason = str(error) or f"it refuses one of {arguments}"  # some say nothing
        raise ConfigError(f"{name}: timm cannot build it with these options: {reason}") from error


def _create_trained(name: str, weights: str, options: Options, more: Mapping[str, Any]) -> Body:
    tagged = _with_tag(name, weights)
    try:
        with _offline_if_unreachable():
            return _create(tagged, options, pretrained=True, **more)
    except ConfigError:
        raise
    except Exception as error:
        # A missing tag, no network connection or a damaged download each raise their own exception.
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{weights}: cannot get timm's weights for {tagged} ({type(error).__name__}: {reason});"
            " give a file on this machine, or set model.backbone.weights=null"
        ) from error


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Lets huggingface_hub look into its cache alone if its server has no address.

    Otherwise it tries for most of a minute before it says that there is no network.
    """
    from huggingface_hub import constants

    former = constants.HF_HUB_OFFLINE
    host = urlparse(constants.ENDPOINT).hostname
    try:
        if not getproxies() and host is not None:  # a proxy would look up the address
            socket.getaddrinfo(host, None)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = former


def _with_tag(name: str, weights: str) -> str:
    name = name.removeprefix(PREFIX)
    tag = weights.removeprefix("timm").removeprefix("/")
    return f"{name.partition('.')[0]}.{tag}" if tag else name


def _stage_indices(body: Body, output_stride: int) -> dict[str, int]:
    """Returns each stage's index in feature_info; dilated stages share a stride."""
    stages = iter(STAGES.items())
    stage, stride = next(stages)
    found = {}
    for index, info in enumerate(body.feature_info.info):
        if info["reduction"] == min(stride, output_stride):
            found[stage] = index
            stage, stride = next(stages, ("", 0))
    return found


def _chosen(
    name: str, body: Body, indices: Mapping[str, int], out_features: Sequence[str] | None
) -> tuple[str, ...]:
    """Returns `out_features` in ascending order; ConfigError if the network lacks one."""
    wanted = tuple(indices) if out_features is None else out_features
    if isinstance(wanted, str) or not wanted or not set(wanted) <= set(indices):
        strides = [info["reduction"] for info in body.feature_info.info]
        raise ConfigError(
            f"out_features: got {wanted!r}, but {name} has {', '.join(indices) or 'none of them'}"
            f" (res2 to res5 have strides 4, 8, 16, 32; this network has strides {strides})"
        )
    return tuple(stage for stage in indices if stage in wanted)


def _flat(name: str) -> str:
    return name.replace(".", "_")
