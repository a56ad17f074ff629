"""This package's networks in timm. Importing this module registers them as `rb_NAME`.

    import resnet_backbone.plugins.timm
    net = timm.create_model("rb_resnet50d", features_only=True, out_indices=(1, 2, 3, 4))

Hugging Face's `TimmBackbone` finds them as well. `pretrained=True` loads timm's weights for the
same network (torchvision's are "rb_resnet50.tv_in1k" and "rb_resnet50.tv2_in1k"). To load a file,
use `pretrained_cfg_overlay={"file": path}`, or `pretrained_cfg(path)` to take normalisation and
interpolation from its card as well. Options of `create_backbone` are passed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

from timm.layers import SelectAdaptivePool2d, create_classifier
from timm.models import (
    PretrainedCfg,
    build_model_with_cfg,
    generate_default_cfgs,
    get_arch_pretrained_cfgs,
    is_model,
    register_model,
)
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.backbone.foreign import is_foreign
from resnet_backbone.backbone.norm import NORM_EPS
from resnet_backbone.backbone.resnet import DECIDED_BY_NAME, Options
from resnet_backbone.backbone.stage import Stage, init_weights
from resnet_backbone.backbone.variants import get_variant, list_backbones
from resnet_backbone.classification.classifier import Classifier
from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.arguments import refuse_unknown
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.layouts import to_ours
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.stored import Stored, read_card, read_weights
from resnet_backbone.weights.timm_names import refuse_lookalikes

PREFIX = "rb_"
# Options of ours that timm's models have under another name.
_TIMMS_OWN = {
    "in_channels": "timm calls it 'in_chans'",
    "stochastic_depth": "timm calls it 'drop_path_rate'",
}
_OPTIONS = tuple(field.name for field in fields(Options) if field.name not in _TIMMS_OWN)


class TimmResNet(Classifier):
    """A classifier with the methods and attributes of timm's models.

    Its children are those that timm's feature extractor calls one after the other. Parameters keep
    their names.

    Args:
        name: The name of a registered network.
        num_classes: Number of classes K; 0 returns the pooled features.
        in_chans: Input channels.
        global_pool: timm's name of the pooling, "" for none.
        drop_rate: Probability of dropout before the last layer.
        drop_path_rate: Stochastic depth, as `stochastic_depth` of `create_backbone`.
        **options: Other options of `create_backbone`. `norm` defaults to "BN", and `dilate_first`
            to False as in timm.
    """

    activation_name = "act1"
    pretrained_cfg: dict[str, Any]  # set by timm
    global_pool: SelectAdaptivePool2d

    def __init__(
        self,
        name: str,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        **options: Any,  # noqa: ANN401
    ) -> None:
        refuse_unknown(options, _OPTIONS, f"{PREFIX}{name}", DECIDED_BY_NAME | _TIMMS_OWN)
        options = {"dilate_first": False} | options
        super().__init__(
            name,
            get_variant(name),
            num_classes=1,  # replaced below
            options=Options(in_channels=in_chans, stochastic_depth=drop_path_rate, **options),
        )
        self.drop_rate = drop_rate
        self.in_chans = in_chans
        self.grad_checkpointing = bool(options.get("activation_checkpointing"))
        del self.avgpool  # `global_pool` is instead
        self.feature_info = self._describe()
        self.num_features = self.feature_info[-1]["num_chs"]
        self.reset_classifier(num_classes, global_pool)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # scores, not features
        """Maps normalised images float[B, in_chans, H, W] to logits float[B, K]."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Returns the last feature map, float[B, num_features, H / 32, W / 32], after its norm."""
        return self._normalised(self.features(x)[self.out_features[-1]])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps the result of `forward_features` to logits, or to the last layer's input."""
        x = F.dropout(self.global_pool(x), self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Returns feature maps by their index in `feature_info`.

        Args:
            x: float[B, in_chans, H, W], normalised.
            indices: A list of indices; or a number n for the last n; or None for all.
            norm: Whether to apply the final norm to the last map, if the network has one.
            stop_early: Whether to stop after the last requested map.
            output_fmt: "NCHW"; no other format is supported.
            intermediates_only: Whether to return only the maps, rather than the final features too.

        Raises:
            ValueError: `output_fmt` is not "NCHW".
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt: got {output_fmt!r}, expected 'NCHW'")
        count = len(self.feature_info)
        taken, last = feature_take_indices(count, indices)
        maps = list(islice(self._maps(x), last + 1 if stop_early else count))
        final = self._normalised(maps[-1]) if len(maps) == count else maps[-1]
        if norm:
            maps[-1] = final
        chosen = [maps[index] for index in taken]
        return chosen if intermediates_only else (final, chosen)

    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """Returns the last layer, or its name."""
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the last layer, and also the pooling if `global_pool` is given."""
        if global_pool is None:
            global_pool = self.global_pool.pool_type
        self.num_classes = num_classes
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, global_pool)
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switches activation checkpointing on or off, see `Stage`."""
        self.grad_checkpointing = enable
        for layer in self._layers.values():
            cast(Stage, self.get_submodule(layer)).activation_checkpointing = enable

    def init_weights(self, zero_init_last: bool = True) -> None:
        """Draws the convolutions anew, see `backbone.stage.init_weights`.

        Args:
            zero_init_last: Whether to let every block start as its shortcut, where it has one.
        """
        zero = zero_init_last and self.variant.shortcut != "none"
        init_weights(self, zero_init_residual=zero)

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Removes what `forward_intermediates` does not need for the given indices.

        Args:
            indices: As for `forward_intermediates`.
            prune_norm: Whether to remove the final norm of networks with pre-activation.
            prune_head: Whether to remove pooling and classifier.

        Returns:
            The indices of the maps that are left.
        """
        taken, last = feature_take_indices(len(self.feature_info), indices)
        removed = list(self._layers.values())[last:]
        for layer in removed:
            setattr(self, layer, nn.Sequential())
        if prune_norm or removed:  # the norm has the channels of the last stage
            self.norm = None
        if prune_head:
            self.reset_classifier(0, "")
        return taken

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Returns patterns that group parameters by depth, for layer-wise learning rate decay."""
        blocks = r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"
        return {"stem": r"^(?:conv1|bn1)", "blocks": blocks}

    def _normalised(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.relu(self.norm(x))

    def _maps(self, x: Tensor) -> Iterator[Tensor]:
        wanted = [info["module"] for info in self.feature_info]
        for name, child in self.named_children():
            x = child(x)
            if name in wanted:
                yield x
            if name == wanted[-1]:
                return

    def _describe(self) -> list[dict[str, Any]]:
        """Returns timm's feature_info: the stem before its pooling, then the stages."""
        stem = self._specs["stem"]
        stride = stem.stride // 2 if self.pooled else stem.stride
        module = "conv1" if self.bn1 is None else self.activation_name
        rows = [{"num_chs": stem.channels, "reduction": stride, "module": module}]
        for stage, layer in self._layers.items():
            spec = self._specs[stage]
            rows.append({"num_chs": spec.channels, "reduction": spec.stride, "module": layer})
        return rows


def pretrained_cfg(path: str | Path) -> dict[str, Any]:
    """Returns timm's description of a weight file, to use as `pretrained_cfg_overlay`.

    Raises:
        WeightsError: the file cannot be read, nothing is known about it, or its weights need a
            network that differs from timm's in a way that a `pretrained_cfg` cannot express.
    """
    card = read_card(path)
    if card.channel_order != "RGB" or card.stride_in_1x1 or card.norm_eps != NORM_EPS:
        raise WeightsError(
            f"{path}: needs {card.channel_order}, stride_in_1x1={card.stride_in_1x1} and"
            f" norm_eps={card.norm_eps}, but timm's models have RGB, stride_in_1x1=False and"
            f" norm_eps={NORM_EPS}"
        )
    cfg: dict[str, Any] = {
        "file": str(path),
        "license": card.licence,
        "interpolation": card.interpolation,
    }
    for key, row in (("mean", card.mean), ("std", card.std)):
        cfg[key] = row and tuple(value / card.pixel_scale for value in row)
    last = read_weights(path).tensors.get("fc.weight")
    cfg["num_classes"] = None if last is None else len(last)
    return {key: value for key, value in cfg.items() if value is not None}


def _build(name: str, pretrained: bool = False, **options: Any) -> nn.Module:  # noqa: ANN401
    stages = len(get_variant(name).counts)
    return build_model_with_cfg(
        partial(TimmResNet, name),
        f"{PREFIX}{name}",
        pretrained,
        feature_cfg={"out_indices": tuple(range(stages + 1))},
        pretrained_filter_fn=_our_names,
        **options,
    )


def _our_names(state: Mapping[str, Tensor], model: TimmResNet) -> dict[str, Tensor]:
    """Renames weights to our names, and checks and loads them as `load_weights` does.

    timm then loads them again; on its own it would only log what is missing, or not even that.
    """
    cfg = model.pretrained_cfg
    if cfg.get("file"):
        stored = read_weights(cfg["file"])
    else:
        stored = _distributed(state, str(cfg.get("url") or cfg.get("hf_hub_id") or "weights"))
    if stored.card is not None and stored.card.channel_order == "BGR":
        raise WeightsError(f"{stored.source}: its card says BGR, but timm's models take RGB")
    load_weights(model, stored, allow_partial=("fc.*",))
    # The classifier is as `load_weights` left it, which may be drawn.
    last = {name: value for name, value in model.state_dict().items() if name.startswith("fc.")}
    return stored.backbone() | last


def _distributed(state: Mapping[str, Tensor], source: str) -> Stored:
    """Returns weights that timm distributes, which are of its own networks."""
    found = to_ours(state, source)
    refuse_lookalikes(source, {}, found.layout, found.tensors)
    card = WeightsCard(stride_in_1x1=False)
    return Stored(source, found.tensors, found.layout, found.kind, card)


def _cfgs(name: str) -> dict[str, PretrainedCfg]:
    """Returns timm's weights for the network of the same name, by "rb_NAME.TAG"."""
    variant = get_variant(name)
    own: dict[str, Any] = {
        "first_conv": "conv1.0" if variant.stem == "deep" else "conv1",
        "classifier": "fc",
    }
    size, strides = (32, 4) if variant.stem == "cifar" else (224, 32)
    shape: dict[str, Any] = {"input_size": (3, size, size), "pool_size": (size // strides,) * 2}
    theirs = get_arch_pretrained_cfgs(name) if is_model(name) else {}
    if not theirs:
        return {f"{PREFIX}{name}": PretrainedCfg(**own, **shape)}
    return {f"{PREFIX}{tagged}": replace(cfg, **own) for tagged, cfg in theirs.items()}


def _register(name: str) -> None:
    def build(pretrained: bool = False, **options: Any) -> nn.Module:  # noqa: ANN401
        return _build(name, pretrained, **options)

    build.__name__ = f"{PREFIX}{name}"
    globals()[build.__name__] = register_model(build)  # timm adds the name to __all__


_names = [name for name in list_backbones() if not is_foreign(name)]
# `register_model` looks here for the weights of the models in this module.
default_cfgs = generate_default_cfgs({k: cfg for name in _names for k, cfg in _cfgs(name).items()})
for _name in _names:
    _register(_name)
