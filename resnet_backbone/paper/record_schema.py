"""What results/*.json say about a run, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from resnet_backbone.errors import StorageError

Model = TypeVar("Model", bound=BaseModel)
Error = Annotated[float, Field(ge=0, le=1)]  # a fraction of the images
NonNegative = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RecordPart(BaseModel):
    """Base of every part: frozen, closed, typed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Training(RecordPart):
    """The schedule that a run followed, scaled to its batch size."""

    kind: str = Field(description="multistep, cosine or plateau")
    max_iter: Positive
    milestones: tuple[NonNegative, ...]
    lr: float
    batch_size: Positive
    extras: tuple[str, ...] = Field(description="keys that are not as in the paper, with values")
    steps: NonNegative = Field(description="how many were done")


class Data(RecordPart):
    """What a run was trained and tested on."""

    name: str = Field(description="of torchvision's data set, or of the folder that holds it")
    train: tuple[str, ...]
    val: tuple[str, ...]
    hold_out: NonNegative = Field(description="training images that were tested on instead")


class Test(RecordPart):
    """Errors on the test images at one step."""

    top1_error: Error
    top5_error: Error | None = None


class Best(RecordPart):
    """The best evaluation of a run, which the test images themselves have chosen."""

    metric: str
    value: float
    step: NonNegative


class Curve(RecordPart):
    """Errors over steps."""

    steps: tuple[NonNegative, ...]
    values: tuple[Error, ...]

    @model_validator(mode="after")
    def _pairs(self) -> Curve:
        if len(self.steps) != len(self.values):
            raise ValueError(f"{len(self.steps)} steps, but {len(self.values)} values")
        return self


class Layer(RecordPart):
    """A number for one convolution."""

    name: str
    value: Size


class Machine(RecordPart):
    """What computed."""

    device: Literal["cpu", "cuda"]
    gpu: str | None
    ranks: Positive
    torch: str


class Record(RecordPart):
    """One finished run.

    Errors are fractions; `test` is that of the last step, of one crop per image, and `more_tests`
    those of the same weights by other ways of testing. `final_training_error` is the mean over
    the last twentieth of the steps, of augmented images and of the weights of the moment.
    """

    format: Literal[1] = 1
    experiment: str = Field(description="name of the configuration")
    network: str
    data: Data
    training: Training
    seed: NonNegative
    test: Test
    more_tests: dict[str, Test] = Field(
        default_factory=dict, description="by what evaluation.testing calls them"
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
        """Returns the errors by a way of testing, as `evaluation.testing` calls it, or None."""
        return self.test if testing == "single" else self.more_tests.get(testing)


def read_record(file: Path) -> Record:
    """Returns what a file of `results/` says.

    Raises:
        StorageError: it cannot be read, or is not what `record_run` writes; names file and key.
    """
    return read_checked(Record, file)


def read_records(folder: Path) -> dict[str, Record]:
    """Returns the records of a folder by file name without ".json"; none where it is missing.

    Raises:
        StorageError: see `read_record`.
    """
    return {file.stem: read_record(file) for file in sorted(folder.glob("*.json"))}


def read_checked(model: type[Model], file: Path) -> Model:
    """Returns a JSON file as a `model`.

    Raises:
        StorageError: it cannot be read or is something else; names file and key.
    """
    try:
        return model.model_validate_json(file.read_bytes())
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise StorageError(f"{file}: {defects(error)}") from None


def defects(error: ValidationError) -> str:
    """Returns the first defects that pydantic found, on one line."""
    found = error.errors()
    lines = [
        f"{'.'.join(map(str, defect['loc'])) or 'the file'}: {defect['msg']}"
        for defect in found[:3]
    ]
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return "; ".join(lines) + more
