"""The configuration of a run with a classifier: every key with its type, default and meaning.

Defaults are those of the paper's ImageNet training (He et al. 2016, section 3.4) unless a comment
says otherwise. Models and data take plain arguments; only builders, tasks, the engine and the
plug-ins read these classes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from resnet_backbone.config.run_schema import (
    BitDepth,
    CheckpointConfig,
    Fraction,
    JudgingConfig,
    NonNegative,
    PathText,
    PixelConfig,
    Positive,
    PositiveFloat,
    RunConfig,
    Section,
    SolverConfig,
)

Alpha = Annotated[float, Field(ge=0)]
Range = tuple[PositiveFloat, PositiveFloat]
IN_MEMORY = ("resident", "cifar10", "cifar100", "shapes")


class DrawnConfig(Section):
    """The synthetic dataset of pretrain_quickstart.yaml: one drawn shape per image."""

    train_images: Positive = Field(4000, description="number of training images")
    val_images: Positive = Field(500, description="number of validation images")
    image_size: Annotated[int, Field(ge=16, le=128)] = Field(
        64, description="side of the square images, in pixels"
    )
    seed: NonNegative = Field(0, description="seed for drawing the images")


class ImageDataConfig(Section):
    """Where the labelled images are, and how they are augmented and batched."""

    root: PathText = Field("datasets/imagenet", description="folder that holds the dataset")
    format: Literal["folders", "shards", "resident", "cifar10", "cifar100", "shapes"] = Field(
        "folders",
        description="folders: one folder per class; shards: tar files; resident: class folders, "
        "or zip files of them, kept in memory; cifar10, cifar100: torchvision's datasets; shapes: "
        "synthetic images",
    )
    train: tuple[PathText, ...] = Field(
        ("train",),
        min_length=1,
        description="training split: folders below root, or the names of shards, as in "
        '"train-{0000..0099}.tar"',
    )
    val: tuple[PathText, ...] = Field(
        ("val",), min_length=1, description="validation split, written like train"
    )
    val_labels: PathText | None = Field(
        None,
        description="labels for a val folder without class folders: a text file with one image "
        "file name and class per line",
        examples=["val_labels.txt"],
    )
    hold_out: NonNegative = Field(
        0,
        description="number of training images, drawn with the run's seed, to validate on instead "
        "of val; 0: validate on val",
    )
    drawn: DrawnConfig = DrawnConfig()
    workers: NonNegative = Field(
        2, description="data loader processes per rank; 0 loads in the main process"
    )
    on_bad_sample: Literal["error", "skip"] = Field(
        "error",
        description="error: stop at an image that cannot be read; skip: leave it out and log it",
    )
    check_images: bool = Field(
        True, description="read the headers of all image files before training"
    )
    bit_depth: BitDepth = Field(
        "auto",
        description="bits that images of 16 bits use, 12 makes 4095 white; auto: by the largest "
        "value of all training images, or 16 if check_images is off",
    )
    max_pixels: Positive = Field(
        50_000_000, description="images with more pixels are rejected without decoding them"
    )
    crop: Literal["scale_jitter", "random_resized", "pad"] = Field(
        "scale_jitter",
        description="training crop; scale_jitter: the paper's; random_resized: Inception's; pad: "
        "padded with the mean colour, then cropped to the original size, for images in memory",
    )
    size: Positive = Field(224, description="side of the training crop, in pixels")
    short_side: tuple[Positive, Positive] = Field(
        (256, 480), description="scale_jitter: range of the short side after resizing, in pixels"
    )
    area: Range = Field(
        (0.08, 1.0), description="random_resized: range of the crop's area; 1 is the whole image"
    )
    ratio: Range = Field(
        (3 / 4, 4 / 3), description="random_resized: range of the crop's width / height"
    )
    padding: NonNegative = Field(4, description="pad: padding on every side, in pixels")
    flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="interpolation for resizing, in training and testing"
    )
    pca_color: Alpha = Field(
        0.0, description="std of AlexNet's PCA colour augmentation (0.1 in AlexNet); 0: off"
    )
    auto_augment: str | None = Field(
        None,
        description='"trivial" for TrivialAugment, or RandAugment in timm\'s notation: '
        '"rand-m7-mstd0.5-inc1"',
        examples=["rand-m7-mstd0.5-inc1"],
    )
    random_erase: Fraction = Field(0.0, description="probability of erasing a random rectangle")
    repeats: Positive = Field(
        1,
        description="repeated augmentation: copies of each image in a row, augmented differently",
    )
    mixup: Alpha = Field(0.0, description="alpha of mixup's Beta distribution; 0: off")
    cutmix: Alpha = Field(0.0, description="alpha of CutMix's Beta distribution; 0: off")
    progressive: tuple[tuple[NonNegative, Positive], ...] = Field(
        (),
        description="progressive resizing: [[step, size], ...] sets the training crop's side from "
        "the epoch that contains this step; steps are scaled like max_iter",
        examples=[((0, 160), (30_000, 224))],
    )
    test_resize: Positive = Field(
        256, description="short side of test images before the centre crop, in pixels"
    )
    test_size: Positive = Field(224, description="side of the test images' centre crop, in pixels")

    @field_validator("short_side", "area", "ratio")
    @classmethod
    def _ascend(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError(f"found {list(bounds)}, expected the lower bound first")
        return bounds

    @field_validator("progressive")
    @classmethod
    def _steps_ascend(cls, stages: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        steps = [step for step, _ in stages]
        if steps != sorted(set(steps)):
            raise ValueError(f"found steps {steps}, expected ascending ones")
        return stages

    @model_validator(mode="after")
    def _fits(self) -> ImageDataConfig:
        if self.in_memory != (self.crop == "pad"):
            kind = "pad" if self.in_memory else "scale_jitter or random_resized"
            raise ValueError(
                f"data.crop is {self.crop}, but data.format {self.format} requires {kind}"
            )
        sizes = [("size", self.size), *(("progressive", size) for _, size in self.progressive)]
        for key, size in sizes if self.crop == "scale_jitter" else ():
            if self.short_side[0] < size:
                raise ValueError(
                    f"data.short_side starts at {self.short_side[0]}, expected at least "
                    f"data.{key}, which is {size}: the crop must fit into the image"
                )
        if self.test_resize < self.test_size:
            raise ValueError(
                f"data.test_resize is {self.test_resize}, expected at least data.test_size, which "
                f"is {self.test_size}"
            )
        only_read = ("auto_augment", "random_erase", "pca_color", "progressive", "repeats")
        defaults = type(self).model_fields
        given = [key for key in only_read if getattr(self, key) != defaults[key].default]
        if self.in_memory and given:
            raise ValueError(
                f"data.{given[0]} augments images as they are read from files, but data.format "
                f"{self.format} keeps them in memory; remove this key"
            )
        if self.val_labels is not None and self.format != "folders":
            raise ValueError(
                f"data.val_labels names the classes of files in a folder; data.format "
                f"{self.format} has its own labels"
            )
        return self

    @property
    def in_memory(self) -> bool:
        """Whether all images are kept in memory as one tensor."""
        return self.format in IN_MEMORY


class ClassifierConfig(Section):
    """The network, its loss, and the normalisation of the pixels."""

    name: str = Field("resnet50", description="a registered network, see list_backbones()")
    num_classes: Positive | None = Field(
        None,
        description="number of outputs; null: as many as the dataset has classes",
        examples=[10],
    )
    weights: str | None = Field(
        None,
        description="weights to start from; null: random (He initialisation)",
        examples=["torchvision/IMAGENET1K_V2"],
    )
    allow_extra: tuple[str, ...] = Field(
        (),
        description="patterns of names in the weights that the network may lack",
        examples=[("head.*",)],
    )
    class_layers: Literal["auto", "copy", "draw"] = Field(
        "auto",
        description="last layer of the weights; auto: copied unless number or names of the classes "
        "differ; copy: always; draw: never",
    )
    norm: Literal["BN", "SyncBN", "GN"] = Field("BN", description="normalisation layers")
    norm_eps: PositiveFloat | None = Field(
        None,
        description="epsilon of the norms; null: as the weights were trained, or 1e-5",
        examples=[1e-3],
    )
    stride_in_1x1: bool | None = Field(
        None,
        description="where a bottleneck has its stride; true: in the 1x1 convolution (the paper); "
        "false: in the 3x3 (torchvision); null: as the weights were trained, or false",
        examples=[True],
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
    loss: Literal["ce", "bce"] = Field(
        "ce", description="ce: cross-entropy; bce: binary cross-entropy per class"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="fraction of each label distributed evenly over all classes"
    )
    pixels: PixelConfig = PixelConfig()
    mean_image: PathText | None = Field(
        None,
        description="mean image to subtract: a file written by tools/compute_mean.py; auto: "
        "computed from the training images, if they are kept in memory",
        examples=["mean_image.safetensors"],
    )


class ClassEvaluationConfig(JudgingConfig):
    """When and how the classifier is evaluated."""

    batch_size: Positive = Field(32, description="images per rank")
    testing: Literal["single", "ten_crop", "multi_scale"] = Field(
        "single", description="views of a test image: a centre crop, ten crops, or several scales"
    )
    scales: tuple[Positive, ...] = Field(
        (224, 256, 384, 480, 640),
        min_length=1,
        description="multi_scale: short sides of the image, in pixels",
    )


class ClassificationConfig(RunConfig):
    """A run that trains or evaluates a classifier."""

    task: Literal["classification"] = Field("classification", description="what is trained")
    data: ImageDataConfig = ImageDataConfig()
    model: ClassifierConfig = ClassifierConfig()
    solver: SolverConfig = SolverConfig(
        lr=0.1,
        weight_decay_norm=1e-4,
        batch_size=256,
        reference_batch_size=256,
        max_iter=600_000,
        schedule="plateau",
        milestones=(),
        warmup_iters=0,
    )
    evaluation: ClassEvaluationConfig = ClassEvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @property
    def norm(self) -> str:
        """The kind of the network's normalisation layers."""
        return self.model.norm

    @model_validator(mode="after")
    def _fits(self) -> ClassificationConfig:
        data = self.data
        if self.model.mean_image == "auto" and not data.in_memory:
            raise ValueError(
                f"model.mean_image is auto, which needs images in memory, but data.format is "
                f"{data.format}; compute a file with tools/compute_mean.py and name it here"
            )
        if self.solver.epochs is not None and data.progressive:
            raise ValueError(
                "solver.epochs is set, but data.progressive is in steps; set solver.max_iter, or "
                "data.progressive=[]"
            )
        if self.evaluation.testing != "single" and data.in_memory:
            raise ValueError(
                f"evaluation.testing {self.evaluation.testing} resizes the images, but data.format "
                f"{data.format} tests them at their original size; expected single"
            )
        return self
