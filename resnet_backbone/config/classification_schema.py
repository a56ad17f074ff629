"""The configuration of a classifier's run: every key, its type, its default and its meaning.

Defaults are the paper's ImageNet training (He et al. 2016, section 3.4) unless a comment says
otherwise. As with the detector's, only build modules and the engine read these classes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from resnet_backbone.config.run_schema import (
    CheckpointConfig,
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

Alpha = Annotated[float, Field(ge=0)]
Range = tuple[PositiveFloat, PositiveFloat]
IN_MEMORY = ("resident", "cifar10", "cifar100", "shapes")


class DrawnConfig(Section):
    """The drawn dataset of pretrain_quickstart.yaml: one shape per image."""

    train_images: Positive = 4000
    val_images: Positive = 500
    image_size: Annotated[int, Field(ge=16, le=128)] = 64
    seed: NonNegative = 0


class ImageDataConfig(Section):
    """Where labelled images are, and how they become batches."""

    root: str = "datasets/imagenet"
    format: Literal["folders", "shards", "resident", "cifar10", "cifar100", "shapes"] = Field(
        "folders",
        description="folders, one per class; tar shards; resident: such folders, or zips of them, "
        "kept in memory; torchvision's CIFAR; drawn shapes",
    )
    train: tuple[str, ...] = Field(
        ("train",), min_length=1, description='below root; of shards, "train-{0000..0099}.tar"'
    )
    val: tuple[str, ...] = Field(("val",), min_length=1)
    val_labels: str | None = Field(
        None, description="for a val folder without class folders: lines of file name and class"
    )
    hold_out: NonNegative = Field(
        0, description="so many training images, drawn by the seed, are the validation split"
    )
    drawn: DrawnConfig = DrawnConfig()
    workers: NonNegative = Field(
        2, description="loader processes per rank; 0 loads in the main one"
    )
    on_bad_sample: Literal["error", "skip"] = "error"
    max_pixels: Positive = Field(100_000_000, description="larger images are refused unread")
    crop: Literal["scale_jitter", "random_resized", "pad"] = "scale_jitter"
    size: Positive = Field(224, description="side of the training crop")
    short_side: tuple[Positive, Positive] = Field((256, 480), description="of scale_jitter")
    area: Range = Field((0.08, 1.0), description="share of the image, of random_resized")
    ratio: Range = Field((3 / 4, 4 / 3), description="width by height, of random_resized")
    padding: NonNegative = Field(4, description="of pad, on every side")
    flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    pca_color: Alpha = Field(0.0, description="std of AlexNet's colour shifts; 0.1 there")
    auto_augment: str | None = Field(
        None, description='"trivial", or timm\'s notation: "rand-m7-mstd0.5-inc1"'
    )
    random_erase: Fraction = Field(0.0, description="probability of erasing a rectangle")
    repeats: Positive = Field(1, description="times that each image stands in a batch's stretch")
    mixup: Alpha = Field(0.0, description="alpha; 0 is off")
    cutmix: Alpha = Field(0.0, description="alpha; 0 is off")
    progressive: tuple[tuple[NonNegative, Positive], ...] = Field(
        (),
        description="[[step, size], ...]: the training crop from the epoch of that step on; "
        "scaled like max_iter",
    )
    test_resize: Positive = Field(256, description="short side before the crop of testing")
    test_size: Positive = Field(224, description="side of that crop")

    @field_validator("short_side", "area", "ratio")
    @classmethod
    def _ascend(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError(f"found {list(bounds)}, expected the lower one first")
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
                f"data.crop is {self.crop}, but data.format {self.format} needs {kind}"
            )
        sizes = [("size", self.size), *(("progressive", size) for _, size in self.progressive)]
        for key, size in sizes if self.crop == "scale_jitter" else ():
            if self.short_side[0] < size:
                raise ValueError(
                    f"data.short_side begins at {self.short_side[0]}, below data.{key} {size}: the "
                    "crop would not fit"
                )
        if self.test_resize < self.test_size:
            raise ValueError(
                f"data.test_resize is {self.test_resize}, below data.test_size {self.test_size}"
            )
        only_read = ("auto_augment", "random_erase", "pca_color", "progressive", "repeats")
        defaults = type(self).model_fields
        given = [key for key in only_read if getattr(self, key) != defaults[key].default]
        if self.in_memory and given:
            raise ValueError(
                f"data.{given[0]} works on images as they are read; data.format {self.format} "
                "crops and flips whole batches in memory"
            )
        if self.val_labels is not None and self.format != "folders":
            raise ValueError(
                f"data.val_labels names the classes of files in a folder; data.format "
                f"{self.format} has its own labels"
            )
        return self

    @property
    def in_memory(self) -> bool:
        """Whether all images are held as one tensor."""
        return self.format in IN_MEMORY


class ClassifierConfig(Section):
    """The network, its loss, and what is subtracted from the pixels."""

    name: str = "resnet50"
    num_classes: Positive | None = Field(None, description="None: as many as the data name")
    weights: str | None = Field(None, description="a classifier to start from; None: He's draws")
    norm: Literal["BN", "SyncBN", "GN"] = "BN"
    norm_eps: PositiveFloat | None = Field(None, description="None: as the weights, or as usual")
    stride_in_1x1: bool | None = Field(
        None, description="True: the paper's; False: torchvision's; None: as the weights, or False"
    )
    zero_init_residual: bool = False
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.0
    activation_checkpointing: bool = False
    loss: Literal["ce", "bce"] = "ce"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    pixels: PixelConfig = PixelConfig()
    mean_image: str | None = Field(
        None,
        description="a file of tools/compute_mean.py, subtracted pixel by pixel; auto: computed, "
        "for data in memory",
    )


class ClassEvaluationConfig(JudgingConfig):
    """When and how the classifier is judged."""

    batch_size: Positive = Field(32, description="images per rank")
    testing: Literal["single", "ten_crop", "multi_scale"] = "single"
    scales: tuple[Positive, ...] = Field(
        (224, 256, 384, 480, 640), min_length=1, description="short sides of multi_scale"
    )


class ClassificationConfig(RunConfig):
    """A run that trains or judges a classifier."""

    task: Literal["classification"] = "classification"
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
        """The kind of the network's norms."""
        return self.model.norm

    @model_validator(mode="after")
    def _fits(self) -> ClassificationConfig:
        data = self.data
        if self.model.mean_image == "auto" and not data.in_memory:
            raise ValueError(
                f"model.mean_image auto needs data in memory, but data.format is {data.format}; "
                "compute a file with tools/compute_mean.py"
            )
        if self.evaluation.testing != "single" and data.in_memory:
            raise ValueError(
                f"evaluation.testing {self.evaluation.testing} resizes images, but data.format "
                f"{data.format} tests them as they are"
            )
        return self
