"""The schema of results/*.json, and how these files are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from resnet_backbone.errors import StorageError
from resnet_backbone.utils.storage import read_regular

Model = TypeVar("Model", bound=BaseModel)
Error = Annotated[float, Field(ge=0, le=1)]  # fraction of the images
NonNegative = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RecordPart(BaseModel):
    """Base class of all parts of a record: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Training(RecordPart):
    """The training schedule of a run, scaled to its batch size."""

    kind: str = Field(description="multistep, cosine or plateau")
    max_iter: Positive
    milestones: tuple[NonNegative, ...]
    lr: float
    batch_size: Positive
    extras: tuple[str, ...] = Field(description="settings that differ from the paper, with values")
    steps: NonNegative = Field(description="number of steps done")


class Data(RecordPart):
    """The data that a run was trained and tested on."""

    name: str = Field(description="name of torchvision's dataset, or of the dataset's folder")
    train: tuple[str, ...]
    val: tuple[str, ...]
    hold_out: NonNegative = Field(description="held-out training images used for testing, or 0")


class Test(RecordPart):
    """Errors on the test images at one step."""

    top1_error: Error
    top5_error: Error | None = None


class Best(RecordPart):
    """The best evaluation of a run; optimistic, since it is selected on the test images."""

    metric: str
    value: float
    step: NonNegative


class Curve(RecordPart):
    """Errors at given steps."""

    steps: tuple[NonNegative, ...]
    values: tuple[Error, ...]

    @model_validator(mode="after")
    def _pairs(self) -> Curve:
        if len(self.steps) != len(self.values):
            raise ValueError(f"{len(self.steps)} steps, but {len(self.values)} values")
        return self


class Layer(RecordPart):
    """A measurement of one convolution."""

    name: str
    value: Size


class Machine(RecordPart):
    """The machine that the run was computed on."""

    device: Literal["cpu", "cuda"]
    gpu: str | None
    ranks: Positive
    torch: str


class Record(RecordPart):
    """One finished run.

    Errors are fractions. `test` is the test error of the last step with a single crop per image;
    `more_tests` holds those of the same weights with other test methods. `final_training_error` is
    the mean over the last twentieth of the steps, of augmented images and with the weights of each
    step.
    """

    format: Literal[1] = 1
    experiment: str = Field(description="name of the configuration")
    network: str
    data: Data
    training: Training
    seed: NonNegative
    test: Test
    more_tests: dict[str, Test] = Field(
        default_factory=dict, description="by test method, named as in evaluation.testing"
    )
    best: Best | None
    final_training_error: Error | None
    training_error: Curve
    test_error: Curve
    layer_responses: tuple[Layer, ...] | None = None
    gradient_norms: tuple[Layer, ...] | None = None
    machine: Machine
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    command: str

    def tested(self, testing: str) -> Test | None:
        """Returns the errors for a test method, named as in `evaluation.testing`, or None."""
        return self.test if testing == "single" else self.more_tests.get(testing)


def read_record(file: Path) -> Record:
    """Reads a file of `results/`.

    Raises:
        StorageError: it cannot be read, or is not a valid record; the message names file and key.
    """
    return read_checked(Record, file)


def read_records(folder: Path) -> dict[str, Record]:
    """Returns the records in a folder, by file name without ".json"; empty if it does not exist.

    Raises:
        StorageError: a file cannot be read, or is not a valid record.
    """
    return {file.stem: read_record(file) for file in sorted(folder.glob("*.json"))}


def read_checked(model: type[Model], file: Path) -> Model:
    """Reads a JSON file as an instance of `model`.

    Raises:
        StorageError: it cannot be read, or does not fit; the message names file and key.
    """
    try:
        return model.model_validate_json(read_regular(file))
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise StorageError(f"{file}: {defects(error)}") from None


def defects(error: ValidationError) -> str:
    """Returns the first errors that pydantic found, on one line."""
    found = error.errors()
    lines = [
        f"{'.'.join(map(str, defect['loc'])) or 'the file'}: {defect['msg']}"
        for defect in found[:3]
    ]
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return "; ".join(lines) + more
