"""What the configurations of both tasks share: the run, the solver, when to judge and to save."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Section(BaseModel):
    """Base of every section: frozen, closed, typed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )


class Pixels(NamedTuple):
    """How a network wants its pixels; mean and std of 0 to 255, in `channel_order`."""

    channel_order: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class PixelConfig(Section):
    """Normalisation of the 0-255 pixels, done by buffers in the model and nowhere else.

    None takes what the weights were trained with, or torchvision's numbers where there are none.
    """

    channel_order: Literal["RGB", "BGR"] | None = None
    mean: tuple[float, float, float] | None = Field(None, description="in channel_order")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None

    def settled(self) -> Pixels:
        """Returns the values.

        Raises:
            ValueError: some are still to be taken from the weights.
        """
        if self.channel_order is None or self.mean is None or self.std is None:
            raise ValueError("settle the configuration first")
        return Pixels(self.channel_order, self.mean, self.std)


class SolverConfig(Section):
    """Optimisation; rates and steps hold for `reference_batch_size` and are scaled to the real."""

    recipe: Literal["config", "from_weights"] = Field(
        "config", description="from_weights: optimizer, lr and decays are those that suit them"
    )
    optimizer: Literal["sgd", "adamw", "lamb"] = "sgd"
    lr: PositiveFloat = 0.02
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    weight_decay_norm: Annotated[float, Field(ge=0)] = 0.0
    weight_decay_bias: Annotated[float, Field(ge=0)] | None = Field(
        None, description="of other layers than norms; None: weight_decay"
    )
    batch_size: Positive | None = Field(
        None, description="images per step over all ranks; None: 2 per rank"
    )
    reference_batch_size: Positive = 16
    scale: bool = Field(
        True, description="scale lr, max_iter, milestones, warmup_iters linearly to the batch size"
    )
    max_iter: Positive = 90_000
    milestones: tuple[NonNegative, ...] = (60_000, 80_000)
    gamma: Fraction = 0.1
    schedule: Literal["multistep", "cosine", "plateau"] = "multistep"
    min_lr: Annotated[float, Field(ge=0)] = Field(0.0, description="where cosine ends")
    plateau_patience: Positive = Field(
        5, description="evaluations without a better result before the rate is multiplied by gamma"
    )
    plateau_threshold: Annotated[float, Field(ge=0)] = Field(
        1e-3, description="a result is better if it is by more than this"
    )
    plateau_drops: Positive = Field(3, description="the rate is never dropped more often")
    warmup_iters: NonNegative = 1000
    warmup_factor: Fraction = 0.001
    warmup_until_error: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="instead of warmup_iters: the rate is warmup_factor of its own until the "
        "training error of a log period is below this fraction",
    )
    accumulate: Positive = Field(1, description="forward passes that share one optimizer step")
    amp: Literal["off", "bf16", "fp16"] = Field("off", description="CUDA only")
    clip_grad_norm: PositiveFloat | None = None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="average the weights; the average is evaluated and exported"
    )

    @field_validator("milestones")
    @classmethod
    def _ascend(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError(f"found {list(milestones)}, expected ascending steps")
        return milestones


class JudgingConfig(Section):
    """When the validation split is judged; how is the task's."""

    period: NonNegative = Field(
        5000, description="in steps, scaled like max_iter; 0: only at the end"
    )
    batch_size: Positive = Field(1, description="images per rank")
    patience: Positive | None = Field(
        None, description="stop after so many evaluations without a better result"
    )


class CheckpointConfig(Section):
    """Committed folders under `<output>/checkpoints`."""

    period: Positive = Field(5000, description="in steps, scaled like max_iter")
    keep: Annotated[int, Field(ge=2)] = Field(3, description="how many of the newest stay")


class RunConfig(Section):
    """A whole run; its task narrows `task`, `data`, `model` and `evaluation`."""

    name: str = Field("run", description="taken from the file's name")
    output: str = Field("output/{name}", description="{name} is replaced")
    seed: NonNegative = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_period: Positive = 20
    task: str
    data: Section = Section()
    model: Section = Section()
    solver: SolverConfig = SolverConfig()
    evaluation: JudgingConfig = JudgingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    imports: tuple[str, ...] = Field((), description="modules that register your backbones")
    overrides: tuple[str, ...] = Field((), description="the key=value arguments, as given")

    @property
    def norm(self) -> str:
        """The kind of the backbone's norms."""
        raise NotImplementedError
