"""Prints every table and figure of the paper: its number, ours from recorded runs, or the cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_backbone.cli.choices import EXHIBITS
from resnet_backbone.cli.options import named_path
from resnet_backbone.cli.runner import late_imports, make_parser
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.utils.shipped import shipped_folder

if TYPE_CHECKING:
    from resnet_backbone.paper.record_schema import Record
    from resnet_backbone.paper.rows import ComparisonTable

OWN = Path("results")

EXAMPLES = """examples:
  {reproduce}                                  # everything; "not run" with its cost
  {reproduce} --only table6 figure6
  {reproduce} --record output/cifar10_r20 output/cifar10_plain20
  {reproduce} --measure --record output/cifar10_r56   # figure 7 and gradients, too
  {reproduce} --figures output/figures         # drawn from the recorded runs

A finished run of {pretrain} is recorded as results/NAME.json, NAME being its folder's name.
Tables and figures come from these files alone; complexities are computed on the spot.

exit codes: 0 done, 2 wrong arguments or no classification run, 4 a file cannot be read or written,
70 a bug
"""


def main(argv: list[str] | None = None) -> None:
    """Reads the command line, records runs, prints tables, draws figures."""
    parser = make_parser("reproduce", __doc__, EXAMPLES)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=EXHIBITS,
        default=[],
        metavar="NAME",
        help=f"some of {', '.join(EXHIBITS)}",
    )
    parser.add_argument("--record", nargs="+", type=named_path, default=[], metavar="RUN_FOLDER")
    parser.add_argument(
        "--measure", action="store_true", help="with --record: layer responses and gradient norms"
    )
    parser.add_argument("--figures", type=named_path, metavar="DIR", help="draw PNG files into DIR")
    parser.add_argument(
        "--results",
        type=named_path,
        metavar="DIR",
        help="of records; default: ./results or, to read from where that is absent, the records "
        "that came with the package",
    )
    arguments = parser.parse_args(argv)
    if arguments.measure and not arguments.record:
        raise ConfigError("--measure goes with --record RUN_FOLDER: it measures that run's network")
    if arguments.results is not None and not arguments.record and not arguments.results.is_dir():
        raise StorageError(f"{arguments.results}: no such folder of recorded runs")
    with late_imports():
        from resnet_backbone.paper.record import record_run
        from resnet_backbone.paper.record_schema import read_records
        from resnet_backbone.paper.reproduce import reproduce
        from resnet_backbone.tasks.classification.measure import measure_classifier

    for folder in arguments.record:
        measured = measure_classifier(folder) if arguments.measure else None
        print(f"recorded {folder} in {record_run(folder, arguments.results or OWN, measured)}")
    results = arguments.results or (OWN if OWN.is_dir() else shipped_folder("results"))
    records = read_records(results)
    for section in reproduce(list(records.values()), arguments.only):
        print(f"{_text(section)}\n")
    if arguments.figures is not None:
        _draw(list(records.values()), arguments.figures)
    print(f"recorded runs: {len(records)}, in {results}")


def _text(section: ComparisonTable) -> str:
    """Returns aligned lines, below them the notes."""
    from resnet_backbone.report.tables import align

    cells = [(row.label, row.paper, row.ours, row.difference) for row in section.rows]
    table = align([("", "paper", "ours", "difference"), *cells]).split("\n")
    hows = ["obtained", *(row.how for row in section.rows)]
    width = max(map(len, table))
    lines = [f"{line.ljust(width)}  {how}" for line, how in zip(table, hows, strict=True)]
    return "\n".join([section.title, *lines, *(f"  ({note})" for note in section.notes)])


def _draw(records: Sequence[Record], folder: Path) -> None:
    from resnet_backbone.paper.draw import draw_figures

    drawn = draw_figures(records, folder)
    print("\n".join(f"drawn: {file}" for file in drawn))
