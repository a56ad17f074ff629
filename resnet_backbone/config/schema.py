"""The configuration of a detector's run: every key, its type, its default and its meaning.

Keys that are not declared here are errors, and instances are frozen. Only `build.py` modules and
the engine's entry points read these classes; models take plain arguments. Defaults are detectron2's
for the FPN models (its config/defaults.py and configs/Base-RCNN-FPN.yaml) unless a comment says
otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from resnet_backbone.config.run_schema import (
    Fraction,
    JudgingConfig,
    NonNegative,
    PixelConfig,
    Positive,
    PositiveFloat,
    RunConfig,
    Section,
    SolverConfig,
)

__all__ = ["BackboneConfig", "Config", "DataConfig", "ModelConfig", "PixelConfig", "SolverConfig"]


class SplitConfig(Section):
    """One split of a dataset in COCO's format; paths are relative to `data.root`."""

    images: str
    annotations: str
    limit: Positive | None = Field(None, description="use only the first images, by id")


class ShapesConfig(Section):
    """The drawn dataset that quickstart.yaml makes under `data.root` when it is not there yet."""

    train_images: Positive = 400
    val_images: Positive = 100
    image_size: Annotated[int, Field(ge=64, le=1024)] = 128
    max_shapes: Positive = 5
    empty_fraction: Fraction = 0.05
    seed: NonNegative = 0


class DataConfig(Section):
    """Where images and annotations are, and how they become batches."""

    root: str = "datasets/coco"
    train: SplitConfig = SplitConfig(
        images="train2017", annotations="annotations/instances_train2017.json"
    )
    val: SplitConfig = SplitConfig(
        images="val2017", annotations="annotations/instances_val2017.json"
    )
    shapes: ShapesConfig | None = Field(
        None, description="draw the dataset instead of expecting it"
    )
    keep_empty: bool = Field(False, description="train on images without boxes too")
    min_sizes: tuple[Positive, ...] = Field(
        (640, 672, 704, 736, 768, 800), min_length=1, description="short sides to sample from"
    )
    max_size: Positive = Field(1333, description="longest allowed long side")
    test_min_size: Positive = 800
    test_max_size: Positive = 1333
    flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    aspect_grouping: bool = True
    workers: NonNegative = Field(
        2, description="loader processes per rank; 0 loads in the main one"
    )
    exif: Literal["auto", "apply", "ignore"] = Field(
        "auto", description="auto: whichever orientation matches the annotation file's size"
    )
    on_bad_sample: Literal["error", "skip"] = "error"
    max_pixels: Positive = Field(100_000_000, description="larger images are refused unread")


class BackboneConfig(Section):
    """Which network, and how it is prepared for detection."""

    name: str = Field("resnet50", description='registered here or by `imports`, or "timm/NAME"')
    weights: str | None = Field(None, description="file to start from; None starts from He's")
    norm: Literal["BN", "FrozenBN", "SyncBN", "GN"] = "FrozenBN"
    freeze_at: Annotated[int, Field(ge=0, le=5)] = Field(
        2, description="0 none, 1 stem, 2 stem and res2, ... 5 all"
    )
    stride_in_1x1: bool | None = Field(
        None, description="True: the paper and MSRA's; False: torchvision's; None: as the weights"
    )
    norm_eps: PositiveFloat | None = Field(None, description="None: as the weights, or as usual")
    output_stride: Literal[8, 16, 32] = Field(32, description="dc5 makes it 16 at most")
    dilate_first: bool = Field(
        True, description="False: the first block of a dilated stage is not, as in torchvision"
    )
    deformable: tuple[Literal["res2", "res3", "res4", "res5"], ...] = ()
    zero_init_residual: bool = False
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.0
    activation_checkpointing: bool = False
    options: dict[str, Any] = Field(
        default_factory=dict, description="arguments of a backbone that `imports` registered"
    )


class AnchorConfig(Section):
    """Anchor boxes; one tuple of sizes per feature map, or a single one that all maps use."""

    sizes: tuple[Annotated[tuple[PositiveFloat, ...], Field(min_length=1)], ...] = Field(
        ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)), min_length=1
    )
    aspect_ratios: tuple[PositiveFloat, ...] = Field((0.5, 1.0, 2.0), min_length=1)


class RPNConfig(Section):
    """Region proposal network (Faster R-CNN, section 3.1)."""

    anchors: AnchorConfig = AnchorConfig()
    iou_thresholds: tuple[Fraction, Fraction] = Field(
        (0.3, 0.7), description="below: background; from: foreground; between: ignored"
    )
    samples_per_image: Positive = 256
    positive_fraction: Fraction = 0.5
    pre_nms_topk_train: Positive = Field(2000, description="per feature map")
    pre_nms_topk_test: Positive = 1000
    post_nms_topk_train: Positive = Field(1000, description="per image")
    post_nms_topk_test: Positive = 1000
    nms_threshold: Fraction = 0.7
    min_box_size: Annotated[float, Field(ge=0)] = 0.0

    @field_validator("iou_thresholds")
    @classmethod
    def _ascend(cls, thresholds: tuple[float, float]) -> tuple[float, float]:
        if thresholds[0] > thresholds[1]:
            raise ValueError(f"found {list(thresholds)}, expected the lower one first")
        return thresholds


class RoIConfig(Section):
    """The per-region heads."""

    samples_per_image: Positive = 512
    positive_fraction: Fraction = 0.25
    iou_threshold: Fraction = 0.5
    box_pooler_resolution: Positive = Field(
        7, description="14 for C4, whose head strides once more"
    )
    box_fc_dim: Positive = 1024
    box_fc_layers: NonNegative = 2
    box_weights: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = (
        10.0,
        10.0,
        5.0,
        5.0,
    )
    mask_pooler_resolution: Positive = Field(14, description="targets are twice that")
    mask_conv_dim: Positive = 256
    mask_conv_layers: NonNegative = Field(4, description="0 for C4, which shares res5")
    score_threshold: Fraction = 0.05
    nms_threshold: Fraction = 0.5
    detections_per_image: Positive = 100


class ModelConfig(Section):
    """The detector."""

    architecture: Literal["fpn", "c4", "dc5"] = "fpn"
    weights: str | None = Field(
        None, description="a whole detector to start from, or a backbone; instead of backbone's"
    )
    allow_partial: tuple[str, ...] = Field(
        (), description="patterns of the parameters that the weights may lack"
    )
    mask: bool = Field(False, description="True: Mask R-CNN; False: Faster R-CNN")
    num_classes: Positive | None = Field(None, description="None: as many as the annotations name")
    backbone: BackboneConfig = BackboneConfig()
    pixels: PixelConfig = PixelConfig()
    fpn_channels: Positive = 256
    rpn: RPNConfig = RPNConfig()
    roi: RoIConfig = RoIConfig()

    @model_validator(mode="after")
    def _anchors_fit_the_maps(self) -> ModelConfig:
        maps = 5 if self.architecture == "fpn" else 1
        found = len(self.rpn.anchors.sizes)
        if found not in (1, maps):
            raise ValueError(
                f"model.rpn.anchors.sizes has {found} lists, expected "
                f"{' or '.join(map(str, sorted({1, maps})))} for architecture {self.architecture}"
            )
        return self


class EvaluationConfig(JudgingConfig):
    """When and how detections on the validation split are judged."""

    loss: bool = Field(True, description="also compute the losses of the validation split")
    pictures: NonNegative = Field(8, description="how many images to draw detections on")
    max_detections: Annotated[int, Field(ge=100)] = Field(
        100,
        description="how many of the best detections of an image and class AP counts; COCO: 100",
    )


class Config(RunConfig):
    """A run that trains or judges a detector."""

    task: Literal["detection"] = "detection"
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def norm(self) -> str:
        """The kind of the backbone's norms."""
        return self.model.backbone.norm
