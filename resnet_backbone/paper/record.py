"""Records a finished run in a file of `results/`, from which tables are printed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from resnet_backbone.errors import StorageError
from resnet_backbone.paper.measure import Measured
from resnet_backbone.paper.record_schema import (
    Curve,
    Data,
    Layer,
    Machine,
    Record,
    Training,
    read_checked,
    read_record,
)
from resnet_backbone.paper.run_files import (
    Environment,
    RecordedConfig,
    Results,
    errors_of,
    more_tests,
    read_config,
)
from resnet_backbone.report.curves import read_curves
from resnet_backbone.utils.run_layout import CONFIG, ENVIRONMENT, METRICS, RESULTS
from resnet_backbone.utils.storage import make_folder, write_file

MAX_POINTS = 300
LAST_SHARE = 20  # the final training error is the mean over the last 1/20 of the steps
TRAINING_ERROR, TEST_ERROR = "error", "classification/top1_error"
# An absolute path, at the start of an argument, after "=" or in a list. Only its last part is kept;
# the folders are specific to the machine.
_ABSOLUTE = re.compile(r"""(?<![^\s=\[,"'])(?:~|[A-Za-z]:)?[/\\](?:[^,\]"'=/\\]+[/\\]+)*""")


def record_run(run_folder: Path, results_folder: Path, measured: Measured | None = None) -> Path:
    """Writes the results and the origin of a finished classification run, without its weights.

    Evaluations of the run's own weights by tools/evaluate.py, in subfolders, are recorded too.

    Args:
        run_folder: The run's output folder; the record has the same name.
        results_folder: The folder for records, created if necessary.
        measured: Layer responses and gradient norms of the trained network, or None.

    Returns:
        The file written. An existing record of the same run is replaced.

    Raises:
        StorageError: a file of the run is missing or damaged, the record cannot be written, or a
            record of another run has this name.
        ConfigError: the run is not a classification run.
    """
    record = _record(run_folder, measured)
    file = results_folder / f"{run_folder.resolve().name}.json"
    if file.exists() and _identity(read_record(file)) != _identity(record):
        raise StorageError(
            f"{file}: records another run; rename the folder {run_folder}, or remove this record"
        )
    make_folder(file.parent)
    write_file(file, (record.model_dump_json(indent=1) + "\n").encode())
    return file


def thinned(steps: Sequence[int], values: Sequence[float], *, average: bool) -> Curve:
    """Returns a curve of at most `MAX_POINTS` points, which includes the last point.

    Args:
        steps: Steps, ascending.
        values: The value at each step.
        average: Whether a point is the mean of the values it represents (for training errors, which
            are means already), or else the last of them.
    """
    group = -(-len(steps) // MAX_POINTS) or 1
    ends = range(len(steps), 0, -group)
    spans = [(max(0, end - group), end) for end in reversed(ends)]
    means = [sum(values[a:b]) / (b - a) if average else values[b - 1] for a, b in spans]
    return Curve(steps=tuple(steps[b - 1] for _, b in spans), values=tuple(means))


def without_machine(arguments: Sequence[str]) -> str:
    """Returns a command line in which absolute paths are reduced to their last part."""
    words = [_ABSOLUTE.sub("", word) for word in arguments]
    return " ".join(f'"{word}"' if " " in word else word for word in words)


def _record(folder: Path, measured: Measured | None) -> Record:
    if not (folder / CONFIG).is_file():
        raise StorageError(f"{folder}: not the folder of a run: it has no {CONFIG}")
    config = read_config(folder / CONFIG)
    results = read_checked(Results, folder / RESULTS)
    environment = read_checked(Environment, folder / ENVIRONMENT)
    training, test = _errors(folder / METRICS)
    return Record(
        experiment=config.name,
        network=config.model.name,
        data=_data(config),
        training=Training(
            **config.solver.model_dump(exclude={"schedule"}),
            kind=config.solver.schedule,
            extras=config.extras,
            steps=results.step,
        ),
        seed=config.seed,
        test=errors_of(results.metrics),
        more_tests=more_tests(folder),
        best=results.best,
        final_training_error=_final(*training, results.step),
        training_error=thinned(*training, average=True),
        test_error=thinned(*test, average=False),
        layer_responses=None if measured is None else _layers(measured.responses),
        gradient_norms=None if measured is None else _layers(measured.gradients),
        machine=_machine(config, environment),
        date=_date(folder / RESULTS),
        command=without_machine(environment.command),
    )


Series = tuple[list[int], list[float]]


def _errors(file: Path) -> tuple[Series, Series]:
    """Returns the curves of the training error and of the test error."""
    try:
        curves = read_curves(file)
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{file}: cannot be read: {error}") from error
    nothing: Series = ([], [])
    return curves.get(TRAINING_ERROR, nothing), curves.get(TEST_ERROR, nothing)


def _final(steps: list[int], values: list[float], last: int) -> float | None:
    begin = last - last / LAST_SHARE
    late = [value for step, value in zip(steps, values, strict=True) if step > begin] or values[-1:]
    return sum(late) / len(late) if late else None


def _data(config: RecordedConfig) -> Data:
    own = config.data.format in ("cifar10", "cifar100", "shapes")
    return Data(
        name=config.data.format if own else Path(config.data.root).name,
        train=tuple(Path(source).name for source in config.data.train),
        val=tuple(Path(source).name for source in config.data.val),
        hold_out=config.data.hold_out,
    )


def _machine(config: RecordedConfig, environment: Environment) -> Machine:
    gpu = None if config.device == "cpu" else environment.gpu
    return Machine(
        device="cuda" if gpu else "cpu",
        gpu=gpu,
        ranks=environment.ranks,
        torch=environment.packages.get("torch", "unknown"),
    )


def _date(file: Path) -> str:
    return datetime.fromtimestamp(file.stat().st_mtime, timezone.utc).strftime("%Y-%m-%d")


def _layers(pairs: Sequence[tuple[str, float]]) -> tuple[Layer, ...]:
    return tuple(Layer(name=name, value=value) for name, value in pairs)


def _identity(record: Record) -> tuple[object, ...]:
    return record.experiment, record.network, record.data, record.training, record.seed
