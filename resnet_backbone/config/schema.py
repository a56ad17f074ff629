"""The configuration of a run with a detector: every key with its type, default and meaning.

Unknown keys are errors, and instances are immutable. Models and data take plain arguments; only
builders, tasks, the engine and the plug-ins read these classes. Defaults are detectron2's for FPN
models (its config/defaults.py and configs/Base-RCNN-FPN.yaml) unless a comment says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from resnet_backbone.config.run_schema import (
    BitDepth,
    Fraction,
    JudgingConfig,
    NonNegative,
    NonNegativeFloat,
    PathText,
    PixelConfig,
    Positive,
    PositiveFloat,
    RunConfig,
    Section,
    SolverConfig,
)

__all__ = ["BackboneConfig", "Config", "DataConfig", "ModelConfig", "PixelConfig", "SolverConfig"]


class SplitConfig(Section):
    """One split of a dataset in COCO format; paths are relative to `data.root`."""

    images: PathText = Field(description="folder of the images", examples=["train2017"])
    annotations: PathText = Field(
        description="annotation file (instances_*.json)",
        examples=["annotations/instances_train2017.json"],
    )
    limit: Positive | None = Field(
        None,
        description="use only this many images, those with the lowest ids; null: all",
        examples=[1000],
    )


class ShapesConfig(Section):
    """The synthetic dataset of quickstart.yaml, drawn into `data.root` unless it exists."""

    train_images: Positive = Field(400, description="number of training images")
    val_images: Positive = Field(100, description="number of validation images")
    image_size: Annotated[int, Field(ge=64, le=1024)] = Field(
        128, description="side of the square images, in pixels"
    )
    max_shapes: Positive = Field(5, description="maximum number of shapes per image")
    empty_fraction: Fraction = Field(0.05, description="fraction of images without shapes")
    seed: NonNegative = Field(0, description="seed for drawing the images")


class DataConfig(Section):
    """Where the images and annotations are, and how they are augmented and batched."""

    root: PathText = Field("datasets/coco", description="folder that holds the dataset")
    train: SplitConfig = SplitConfig(
        images="train2017", annotations="annotations/instances_train2017.json"
    )
    val: SplitConfig = SplitConfig(
        images="val2017", annotations="annotations/instances_val2017.json"
    )
    shapes: ShapesConfig | None = Field(
        None, description="draw a synthetic dataset into root; null: expect the dataset there"
    )
    keep_empty: bool = Field(False, description="also train on images without boxes")
    min_sizes: tuple[Positive, ...] = Field(
        (640, 672, 704, 736, 768, 800),
        min_length=1,
        description="short side of training images in pixels, one of these at random",
    )
    max_size: Positive = Field(1333, description="maximum long side of training images, in pixels")
    test_min_size: Positive = Field(800, description="short side of test images, in pixels")
    test_max_size: Positive = Field(1333, description="maximum long side of test images, in pixels")
    flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    aspect_grouping: bool = Field(
        True, description="batch landscape and portrait images separately, for less padding"
    )
    workers: NonNegative = Field(
        2, description="data loader processes per rank; 0 loads in the main process"
    )
    check_images: bool = Field(
        True, description="read the headers of all images before training, and check their sizes"
    )
    exif: Literal["auto", "apply", "ignore"] = Field(
        "auto",
        description="EXIF orientation; auto: apply it, unless only the stored image has the "
        "annotated size; apply: always, boxes are on the upright picture; ignore: never",
    )
    bit_depth: BitDepth = Field(
        "auto",
        description="bits that images of 16 bits use, 12 makes 4095 white; auto: by the largest "
        "value of all training images, or 16 if check_images is off",
    )
    on_bad_sample: Literal["error", "skip"] = Field(
        "error",
        description="error: stop at an image that cannot be read; skip: leave it out and log it",
    )
    max_pixels: Positive = Field(
        50_000_000, description="images with more pixels are rejected without decoding them"
    )


class BackboneConfig(Section):
    """The backbone, and how it is prepared for detection."""

    name: str = Field(
        "resnet50",
        description='a registered backbone, see list_backbones() and imports, or "timm/NAME"',
    )
    weights: str | None = Field(
        None,
        description="weights to start from; null: random (He initialisation)",
        examples=["torchvision/IMAGENET1K_V2"],
    )
    norm: Literal["BN", "FrozenBN", "SyncBN", "GN"] = Field(
        "FrozenBN", description="normalisation layers"
    )
    freeze_at: Annotated[int, Field(ge=0, le=5)] = Field(
        2, description="stages to freeze: 0 none, 1 the stem, 2 the stem and res2, ... 5 all"
    )
    stride_in_1x1: bool | None = Field(
        None,
        description="where a bottleneck has its stride; true: in the 1x1 convolution (the paper's "
        "and MSRA's weights); false: in the 3x3 (torchvision's); null: as the weights were trained",
        examples=[True],
    )
    norm_eps: NonNegativeFloat | None = Field(
        None,
        description="epsilon of the norms; null: as the weights were trained, or 1e-5",
        examples=[1e-3],
    )
    output_stride: Literal[8, 16, 32] = Field(
        32, description="stages beyond it are dilated instead of strided; dc5 limits it to 16"
    )
    dilate_first: bool = Field(
        True,
        description="false: the first block of a dilated stage has the dilation of the stage "
        "before, as in torchvision",
    )
    deformable: tuple[Literal["res2", "res3", "res4", "res5"], ...] = Field(
        (), description="stages whose 3x3 convolutions are deformable", examples=[("res4", "res5")]
    )
    zero_init_residual: bool = Field(
        False, description="initialise the last norm of each block to 0"
    )
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="probability of dropping the last block in training; earlier blocks less"
    )
    activation_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass to save memory"
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="further arguments for a backbone that imports registered, or for timm's",
        examples=[{"drop_rate": 0.1}],
    )


class AnchorConfig(Section):
    """Anchor boxes: one tuple of sizes per feature map, or a single tuple for all maps."""

    sizes: tuple[Annotated[tuple[PositiveFloat, ...], Field(min_length=1)], ...] = Field(
        ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)),
        min_length=1,
        description="square root of the anchors' area, in pixels of the resized image",
    )
    aspect_ratios: tuple[PositiveFloat, ...] = Field(
        (0.5, 1.0, 2.0), min_length=1, description="height / width of the anchors"
    )


class RPNConfig(Section):
    """Region proposal network (Faster R-CNN, section 3.1)."""

    anchors: AnchorConfig = AnchorConfig()
    iou_thresholds: tuple[Fraction, Fraction] = Field(
        (0.3, 0.7),
        description="[low, high]: anchors with IoU below low are background, with IoU of at least "
        "high foreground, and in between ignored",
    )
    samples_per_image: Positive = Field(256, description="anchors in the loss, per image")
    positive_fraction: Fraction = Field(
        0.5, description="maximum fraction of foreground among the sampled anchors"
    )
    pre_nms_topk_train: Positive = Field(
        2000, description="proposals per feature map before NMS in training, best score first"
    )
    pre_nms_topk_test: Positive = Field(
        1000, description="proposals per feature map before NMS in testing, best score first"
    )
    post_nms_topk_train: Positive = Field(
        1000, description="proposals per image after NMS in training"
    )
    post_nms_topk_test: Positive = Field(
        1000, description="proposals per image after NMS in testing"
    )
    nms_threshold: Fraction = Field(0.7, description="IoU threshold of NMS")
    min_box_size: Annotated[float, Field(ge=0)] = Field(
        0.0, description="proposals whose width or height is not larger are removed, in pixels"
    )

    @field_validator("iou_thresholds")
    @classmethod
    def _ascend(cls, thresholds: tuple[float, float]) -> tuple[float, float]:
        if thresholds[0] > thresholds[1]:
            raise ValueError(f"found {list(thresholds)}, expected the lower threshold first")
        return thresholds


class RoIConfig(Section):
    """The box and mask heads, which are applied to each region."""

    samples_per_image: Positive = Field(512, description="regions in the loss, per image")
    positive_fraction: Fraction = Field(
        0.25, description="maximum fraction of foreground among the sampled regions"
    )
    iou_threshold: Fraction = Field(
        0.5, description="regions with at least this IoU with a ground-truth box are foreground"
    )
    box_pooler_resolution: Positive = Field(
        7, description="output size of RoIAlign for boxes; 14 for C4, whose res5 has stride 2"
    )
    box_fc_dim: Positive = Field(1024, description="width of the box head's linear layers")
    box_fc_layers: NonNegative = Field(2, description="number of the box head's linear layers")
    box_weights: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (10.0, 10.0, 5.0, 5.0), description="factors of the box deltas dx, dy, dw, dh"
    )
    mask_pooler_resolution: Positive = Field(
        14, description="output size of RoIAlign for masks; predicted masks are twice as large"
    )
    mask_conv_dim: Positive = Field(256, description="channels of the mask head")
    mask_conv_layers: NonNegative = Field(
        4, description="3x3 convolutions of the mask head; 0 for C4, which shares res5"
    )
    score_threshold: Fraction = Field(
        0.05, description="detections with a score not above it are removed"
    )
    nms_threshold: Fraction = Field(0.5, description="IoU threshold of NMS, per class")
    detections_per_image: Positive = Field(100, description="maximum number, best score first")


class ModelConfig(Section):
    """The detector: Faster R-CNN or Mask R-CNN."""

    architecture: Literal["fpn", "c4", "dc5"] = Field(
        "fpn",
        description="fpn: feature pyramid; c4: RPN on res4, res5 as head; dc5: dilated res5",
    )
    weights: str | None = Field(
        None,
        description="weights of a whole detector or of a backbone to start from; used instead of "
        "backbone.weights",
        examples=["model_final.pth", "torchvision/maskrcnn_resnet50_fpn"],
    )
    settings: Literal["config", "from_weights"] = Field(
        "config",
        description="from_weights: keys of model, and the sizes of images, that are at their "
        "default are as in the run that wrote the weights (files of ours say so)",
    )
    allow_partial: tuple[str, ...] = Field(
        (),
        description="patterns of parameters that the weights may lack",
        examples=[("roi_heads.mask_head.*",)],
    )
    allow_extra: tuple[str, ...] = Field(
        (),
        description="patterns of names in the weights that the network may lack",
        examples=[("roi_heads.mask_head.*",)],
    )
    class_layers: Literal["auto", "copy", "draw"] = Field(
        "auto",
        description="layers of the weights that depend on the classes; auto: copied unless number "
        "or names of the classes differ; copy: always; draw: never",
    )
    mask: bool = Field(False, description="true: Mask R-CNN; false: Faster R-CNN")
    num_classes: Positive | None = Field(
        None, description="number of classes; null: as many as the annotations have", examples=[3]
    )
    backbone: BackboneConfig = BackboneConfig()
    pixels: PixelConfig = PixelConfig()
    fpn_channels: Positive = Field(256, description="channels of the feature pyramid")
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
    """When and how detections on the validation split are evaluated."""

    loss: bool = Field(True, description="also compute the loss on the validation split")
    pictures: NonNegative = Field(8, description="number of images to draw with detections")
    progress_pictures: NonNegative = Field(
        4, description="number of images to draw at evaluations during a run, ten at most; 0: none"
    )
    worst_pictures: NonNegative = Field(
        8, description="number of images with the most errors to draw, with what is wrong in them"
    )
    color_by: Literal["class", "instance"] = Field(
        "class",
        description="colours in pictures; instance: neighbours of one class have different ones",
        examples=["instance"],
    )
    max_detections: Annotated[int, Field(ge=100)] = Field(
        100,
        description="number of best detections per image and class that AP counts; COCO: 100",
    )


class Config(RunConfig):
    """A run that trains or evaluates a detector."""

    task: Literal["detection"] = Field("detection", description="what is trained")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def norm(self) -> str:
        """The kind of the backbone's normalisation layers."""
        return self.model.backbone.norm
