"""The parts of the configuration that both tasks share: run, solver, evaluation, checkpoints."""

from __future__ import annotations

import os
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, field_validator

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
# A path. "~" is the home folder, which shells do not expand in every key=value.
PathText = Annotated[str, AfterValidator(os.path.expanduser)]


def _bit_depth(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= 16):
        return value
    raise ValueError(f"found {value!r}, expected auto, or an integer from 1 to 16")


# Checked as a whole: an error of a union would name each of its types.
BitDepth = Annotated[
    int | Literal["auto"],
    PlainValidator(
        _bit_depth, json_schema_input_type=Literal["auto"] | Annotated[int, Field(ge=1, le=16)]
    ),
]


def _epochs(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    raise ValueError(f"found {value!r}, expected auto, or a number above 0")


Epochs = Annotated[
    float | Literal["auto"],
    PlainValidator(_epochs, json_schema_input_type=PositiveFloat | Literal["auto"]),
]


class Section(BaseModel):
    """Base class of all sections: immutable, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )


class Pixels(NamedTuple):
    """The pixel format of a network; mean and std of pixels 0 to 255, in `channel_order`."""

    channel_order: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class PixelConfig(Section):
    """Normalisation of the pixels (0 to 255), which only the model performs.

    None takes the value that the weights were trained with, or torchvision's without weights.
    """

    channel_order: Literal["RGB", "BGR"] | None = Field(
        None,
        description="channel order that the network expects; null: as the weights",
        examples=["BGR"],
    )
    mean: tuple[float, float, float] | None = Field(
        None,
        description="subtracted from the pixels, in channel_order; null: as the weights",
        examples=[(123.675, 116.28, 103.53)],
    )
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None,
        description="the pixels are divided by it, in channel_order; null: as the weights",
        examples=[(58.395, 57.12, 57.375)],
    )

    def settled(self) -> Pixels:
        """Returns the values.

        Raises:
            ValueError: a value is None, that is, not yet taken from the weights.
        """
        if self.channel_order is None or self.mean is None or self.std is None:
            raise ValueError("settle the configuration first, to take the pixels from the weights")
        return Pixels(self.channel_order, self.mean, self.std)


class SolverConfig(Section):
    """Optimisation. Learning rate and steps are given for `reference_batch_size` and rescaled."""

    recipe: Literal["config", "from_weights", "auto"] = Field(
        "config",
        description="from_weights: take optimizer, lr and weight decays from the weights' card, or "
        "from the run that wrote them (files of ours); auto: if they say so, else from here",
    )
    optimizer: Literal["sgd", "adamw", "lamb"] = Field(
        "sgd", description="sgd with momentum, AdamW, or LAMB"
    )
    lr: PositiveFloat = Field(0.02, description="learning rate for reference_batch_size")
    momentum: Fraction = Field(0.9, description="momentum of sgd")
    nesterov: bool = Field(False, description="Nesterov momentum of sgd")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        1e-4, description="weight decay of all weights but those of the next two keys"
    )
    weight_decay_norm: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight decay of all parameters of normalisation layers"
    )
    weight_decay_bias: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="weight decay of the biases of all other layers; null: weight_decay",
        examples=[0.0],
    )
    batch_size: Positive | None = Field(
        None, description="images per step over all ranks; null: 2 per rank", examples=[4]
    )
    reference_batch_size: Positive = Field(
        16, description="the batch size for which lr and the numbers of steps are given"
    )
    scale: bool = Field(
        True, description="scale lr, max_iter, milestones, warmup_iters linearly to the batch size"
    )
    max_iter: Positive = Field(90_000, description="number of training steps")
    epochs: Epochs | None = Field(
        None,
        description="instead of max_iter: passes over the training images; milestones and warm-up "
        "are shortened or extended accordingly; auto: 12, or as many as show 1,000 images",
        examples=[12],
    )
    reference_max_iter: Positive | None = Field(
        None,
        description="number of steps for which milestones, warmup_iters and data.progressive are "
        "given; null: max_iter; set by itself where max_iter is set on the command line",
        examples=[90_000],
    )
    milestones: tuple[NonNegative, ...] = Field(
        (60_000, 80_000), description="multistep: steps at which lr is multiplied by gamma"
    )
    gamma: Fraction = Field(0.1, description="multistep, plateau: factor of a drop of lr")
    schedule: Literal["multistep", "cosine", "plateau"] = Field(
        "multistep",
        description="multistep: drops at milestones; cosine: half a cosine down to min_lr; "
        "plateau: drops where the metric no longer improves",
    )
    min_lr: Annotated[float, Field(ge=0)] = Field(
        0.0, description="cosine: learning rate at the end of the run"
    )
    plateau_patience: Positive = Field(
        5, description="plateau: evaluations without improvement before lr is multiplied by gamma"
    )
    plateau_threshold: Annotated[float, Field(ge=0)] = Field(
        1e-3, description="plateau: minimum change of the metric that counts as an improvement"
    )
    plateau_drops: Positive = Field(3, description="plateau: maximum number of drops of lr")
    warmup_iters: NonNegative = Field(1000, description="steps of linear warm-up")
    warmup_factor: Fraction = Field(
        0.001, description="learning rate at the start of the warm-up, as fraction of lr"
    )
    warmup_until_error: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="instead of warmup_iters: train with lr * warmup_factor until the training "
        "error, averaged over a log period, is below this fraction",
        examples=[0.8],
    )
    accumulate: Positive = Field(1, description="micro-batches per step (gradient accumulation)")
    amp: Literal["auto", "bf16", "fp16", "off"] = Field(
        "auto",
        description="precision of the layers; auto: bf16 where the GPU or the CPU has instructions "
        "for it, else off; fp16: on a GPU, with a loss scale; off: float32 throughout",
    )
    clip_grad_norm: PositiveFloat | None = Field(
        None,
        description="maximum norm of all gradients together; null: no clipping",
        examples=[1.0],
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="decay per step of an exponential moving average of the weights, which is "
        "evaluated and exported; null: no average",
        examples=[0.9998],
    )

    @field_validator("milestones")
    @classmethod
    def _ascend(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError(f"found {list(milestones)}, expected ascending steps")
        return milestones


class JudgingConfig(Section):
    """When the validation split is evaluated; each task adds how."""

    period: NonNegative = Field(
        5000, description="steps between evaluations, scaled like max_iter; 0: only at the end"
    )
    times: Positive | None = Field(
        None,
        description="instead of period: evaluations per run, evenly spaced; null: period; the one "
        "that is given last counts",
        examples=[10],
    )
    batch_size: Positive = Field(1, description="images per rank in evaluation")
    patience: Positive | None = Field(
        None,
        description="early stopping after this many evaluations without improvement; null: never",
        examples=[5],
    )


class CheckpointConfig(Section):
    """The checkpoints in `<output>/checkpoints`, one folder each."""

    period: Positive = Field(5000, description="steps between checkpoints, scaled like max_iter")
    keep: Annotated[int, Field(ge=2)] = Field(
        3, description="number of checkpoints to keep, newest first"
    )


class RunConfig(Section):
    """A whole run; each task replaces `task`, `data`, `model` and `evaluation` by its own types."""

    name: str = Field("run", description="name of the run; by default that of the file")
    output: PathText = Field(
        "output/{name}", description="output folder; {name} is replaced", examples=["runs/first"]
    )
    seed: NonNegative = Field(0, description="seed of initialisation, data order and augmentation")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA if available")
    log_period: Positive = Field(20, description="steps between lines of the log")
    task: str = Field(description="detection or classification", examples=["detection"])
    data: Section = Section()
    model: Section = Section()
    solver: SolverConfig = SolverConfig()
    evaluation: JudgingConfig = JudgingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    imports: tuple[str, ...] = Field(
        (),
        description="Python modules to import, which register your own backbones",
        examples=[("my_backbones",)],
    )
    overrides: tuple[str, ...] = Field(
        (), description="record of the key=value arguments; cannot be set"
    )

    @property
    def norm(self) -> str:
        """The kind of the backbone's normalisation layers."""
        raise NotImplementedError
