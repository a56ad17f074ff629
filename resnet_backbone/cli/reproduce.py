"""Prints every table and figure of the paper: its number, ours from recorded runs, or the cost."""

from __future__ import annotations

import textwrap
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
    from resnet_backbone.paper.rows import ComparisonTable, Row

OWN = Path("results")
COLUMNS = 120  # of what is printed

EXAMPLES = """examples:
  {reproduce}                                  # everything; "not run" with its cost
  {reproduce} --only table6 "figure 6"
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
        type=_key,
        choices=EXHIBITS,
        default=[],
        metavar="NAME",
        help=f"some of {', '.join(EXHIBITS)}",
    )
    parser.add_argument("--record", nargs="+", type=named_path, default=[], metavar="RUN_FOLDER")
    parser.add_argument(
        "--measure", action="store_true", help="with --record: layer responses and gradient norms"
    )
    parser.add_argument(
        "--figures",
        type=named_path,
        metavar="DIR",
        help="draw PNG files into DIR; with --only, those alone",
    )
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
        _draw(list(records.values()), arguments.figures, arguments.only)
    print(f"recorded runs: {len(records)}, in {results}")


def _key(name: str) -> str:
    """Returns "figure4" for "figure 4" and "Figure 4" as well."""
    return name.lower().replace(" ", "")


def _text(section: ComparisonTable) -> str:
    """Returns aligned lines of `COLUMNS` at most, below them the footnotes and the notes."""
    from resnet_backbone.report.tables import align

    cells = [(row.label, row.paper, row.ours, row.difference) for row in section.rows]
    table = align([("", "paper", "ours", "difference"), *cells]).split("\n")
    width = max(map(len, table))
    footnotes: dict[str, str] = {}  # {text: its mark}
    hows = [_how(row, COLUMNS - width - 2, footnotes) for row in section.rows]
    rows = zip(table, ["obtained", *hows], strict=True)
    lines = [f"{line.ljust(width)}  {how}" for line, how in rows]
    lines += [_wrapped(f"{mark} ", text) for text, mark in footnotes.items()]
    lines += [_wrapped("", f"({note})") for note in section.notes]
    return "\n".join([*textwrap.wrap(section.title, COLUMNS), *lines])


def _how(row: Row, room: int, footnotes: dict[str, str]) -> str:
    """Returns how a row was obtained; what many rows share, or is too long, as a footnote."""

    def mark(text: str) -> str:
        return footnotes.setdefault(text, f"[{len(footnotes) + 1}]")

    how = row.how if len(row.how) + len(" [99]") <= room else mark(row.how)
    return f"{how} {mark('; '.join(row.deviations))}" if row.deviations else how


def _wrapped(mark: str, text: str) -> str:
    indent = "  " + mark
    return textwrap.fill(text, COLUMNS, initial_indent=indent, subsequent_indent=" " * len(indent))


def _draw(records: Sequence[Record], folder: Path, only: Sequence[str]) -> None:
    from resnet_backbone.paper.draw import draw_figures

    drawn = draw_figures(records, folder, only)
    print(
        "\n".join(f"drawn: {file}" for file in drawn)
        or "drawn: nothing; --only names no figure with runs"
    )
