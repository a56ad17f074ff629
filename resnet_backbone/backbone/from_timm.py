"""timm's models (Wightman, PyTorch Image Models) as backbones: "timm/convnext_tiny"."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from torch import Tensor, nn

from resnet_backbone.backbone.base import Backbone
from resnet_backbone.backbone.convert_norm import convert_norms, frozen_norm
from resnet_backbone.backbone.resnet import Options
from resnet_backbone.backbone.spec import FeatureSpec
from resnet_backbone.errors import ConfigError, WeightsError

PREFIX = "timm/"
STAGES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}  # strides where nothing is dilated
# What timm's models can be told; the other options are about our blocks.
HONOURED = ("norm", "in_channels", "output_stride", "stochastic_depth", "activation_checkpointing")

Body: TypeAlias = Any  # an nn.Module with feature_info; timm has several, without a common type


class TimmBackbone(Backbone):
    """A network of timm's with the features and methods of `ResNet`.

    Args:
        name: What it is called in the configuration, for messages.
        body: What `timm.create_model(..., features_only=True)` returned for `out_features`.
        indices: For each stage of the network, its place in timm's feature_info.
        out_features: The stages that `body` returns, in ascending order.
    """

    def __init__(
        self, name: str, body: Body, indices: Mapping[str, int], out_features: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.name = name
        self.body: Body = body
        self.out_features = out_features
        self._info = {stage: body.feature_info.info[index] for stage, index in indices.items()}
        # Some transformers keep the channels last in shape, not only in memory.
        self._nhwc = str(getattr(body, "output_fmt", "")).endswith("NHWC")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps float[B, in_channels, H, W] to `out_features`, each float[B, C, ~H/s, ~W/s]."""
        maps = self.body(x)
        if self._nhwc:
            maps = [each.permute(0, 3, 1, 2) for each in maps]
        return dict(zip(self.out_features, maps, strict=True))

    def feature_specs(self) -> dict[str, FeatureSpec]:
        """Returns channels and stride of each of `out_features`, as timm declares them."""
        infos = {stage: self._info[stage] for stage in self.out_features}
        return {s: FeatureSpec(info["num_chs"], info["reduction"]) for s, info in infos.items()}

    def freeze(self, freeze_at: int) -> None:
        """Makes the first stages constants, see `ResNet.freeze`.

        The stem is everything before the modules that make res2, in the order in which timm
        registers modules, which is that of the computation in all that name their stages.

        Raises:
            ConfigError: `freeze_at` is not within 0 to 5, or timm does not say which modules make
                the stage.
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
        """Returns the tensors of timm's own model under the names that they have here.

        timm writes "stages.0.weight" for the model and "stages_0.weight" for the same weight behind
        `features_only`. Names that are not of this network stay as they are.
        """
        own = {_flat(name): name for name in self.state_dict()}
        prefixes = ("body_", "body_model_")  # the latter where timm wraps the model once more
        names = {name: [own.get(prefix + _flat(name)) for prefix in prefixes] for name in state}
        return {next(filter(None, names[name]), name): tensor for name, tensor in state.items()}

    def _names_up_to(self, freeze_at: int) -> list[str]:
        """Returns names of modules of `body`; a container's own parameters count, not its parts."""
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
                f"freeze_at: {self.name} does not say which modules make {stage}; expected 0"
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
    """Builds a network of timm's as a backbone.

    Args:
        name: "timm/NAME", NAME with or without timm's tag of the weights.
        out_features: Which of "res2" to "res5" to return; None: all that the network has.
        options: norm ("BN", "FrozenBN" or "SyncBN", which concern batch normalisation alone),
            in_channels, output_stride, stochastic_depth, activation_checkpointing; the others must
            have their defaults.
        extra: Further arguments of `timm.create_model`.
        weights: "timm" for the weights of NAME's tag, or of timm's default tag; "timm/TAG" for
            others; None for timm's random initialisation. timm downloads them.

    Raises:
        ConfigError: timm is not installed, has no such network, or it cannot do what is asked.
        WeightsError: there are no such weights, or they cannot be downloaded.
    """
    _refuse_unknown(name)
    _refuse_options(name, options)
    body = _create(name, options, **extra)
    indices = _stage_indices(body, options.output_stride)
    chosen = _chosen(name, body, indices, out_features)
    more: dict[str, Any] = {**extra, "out_indices": tuple(indices[stage] for stage in chosen)}
    if any(getattr(module, "strict_img_size", False) for module in body.modules()):
        more["strict_img_size"] = False  # detectors' images have many sizes
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
    """Returns mean and standard deviation of RGB pixels (0 to 255) that timm's weights expect.

    Args:
        name: See `build_timm`.
        weights: See `build_timm`.

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
        raise ConfigError(f"{name}: timm is not installed; pip install timm") from None
    arch = name.removeprefix(PREFIX).partition(".")[0]
    if not timm.is_model(arch):
        close = difflib.get_close_matches(arch, timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(f"{name}: timm {timm.__version__} has no model {arch!r}{hint}")


def _refuse_options(name: str, options: Options) -> None:
    for option, default in vars(Options()).items():
        value = getattr(options, option)
        if option not in HONOURED and value != default:
            raise ConfigError(f"{option}: got {value!r}, but {name} knows only {default!r}")


def _create(name: str, options: Options, **more: Any) -> Body:  # noqa: ANN401
    """Builds the model with random weights, or as `more` says."""
    import timm

    arguments: dict[str, Any] = {"features_only": True, "in_chans": options.in_channels} | more
    if options.output_stride != 32:
        arguments["output_stride"] = options.output_stride
    if options.stochastic_depth:
        arguments["drop_path_rate"] = options.stochastic_depth
    try:
        return timm.create_model(name.removeprefix(PREFIX), **arguments)
    except (TypeError, AssertionError, NotImplementedError) as error:  # of the model's constructor
        raise ConfigError(f"{name}: timm cannot build it as asked ({error})") from error


def _create_trained(name: str, weights: str, options: Options, more: Mapping[str, Any]) -> Body:
    tagged = _with_tag(name, weights)
    try:
        return _create(tagged, options, pretrained=True, **more)
    except ConfigError:
        raise
    except Exception as error:
        # No such tag, no network, a damaged download: each has its own exceptions.
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{weights}: cannot get timm's weights of {tagged} ({type(error).__name__}: {reason});"
            " give a file that you have, or set model.backbone.weights=null"
        ) from error


def _with_tag(name: str, weights: str) -> str:
    name = name.removeprefix(PREFIX)
    tag = weights.removeprefix("timm").removeprefix("/")
    return f"{name.partition('.')[0]}.{tag}" if tag else name


def _stage_indices(body: Body, output_stride: int) -> dict[str, int]:
    """Returns where in feature_info each stage stands; a dilated one has the stride of another."""
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
    """Returns `out_features` in ascending order; ConfigError where the network lacks one."""
    wanted = tuple(indices) if out_features is None else out_features
    if isinstance(wanted, str) or not wanted or not set(wanted) <= set(indices):
        strides = [info["reduction"] for info in body.feature_info.info]
        raise ConfigError(
            f"out_features: got {wanted!r}, but {name} has {', '.join(indices) or 'none of them'}"
            f" (res2 to res5 are the strides 4, 8, 16, 32; its own are {strides})"
        )
    return tuple(stage for stage in indices if stage in wanted)


def _flat(name: str) -> str:
    return name.replace(".", "_")
