"""Draws one metric of several runs in one figure."""

from __future__ import annotations

from pathlib import Path

from resnet_backbone.cli.options import add_overwrite_option, named_path, refuse_existing
from resnet_backbone.cli.runner import late_imports, make_parser
from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.text import count_of

EXAMPLES = """examples:
  {compare} --metric segm/AP --output compared.png \\
      scratch=output/quickstart pretrained=output/quickstart_pretrained
  {compare} --metric classification/top1_error --output cifar.png \\
      output/cifar10_plain20 output/cifar10_plain56

exit codes: 0 done, 2 wrong arguments, 4 a file cannot be read or written, 70 a bug
"""


def main(argv: list[str] | None = None) -> None:
    """Reads the command line and draws the figure."""
    parser = make_parser("compare", __doc__, EXAMPLES)
    parser.add_argument("runs", nargs="+", metavar="[LABEL=]RUN_FOLDER")
    parser.add_argument(
        "--metric",
        required=True,
        help="as metrics.jsonl calls it: bbox/AP, loss, "
        "classification/top1_error, error (training)",
    )
    parser.add_argument("--output", required=True, type=named_path, help="a .png file")
    add_overwrite_option(parser)
    arguments = parser.parse_intermixed_args(argv)
    with late_imports():
        from resnet_backbone.report.compare import draw_runs

    refuse_existing(arguments.output, overwrite=arguments.overwrite)
    runs = dict(_labelled(run) for run in arguments.runs)
    if len(runs) < len(arguments.runs):
        raise ConfigError("two runs have the same label; give LABEL=RUN_FOLDER")
    draw_runs(runs, arguments.metric, arguments.output)
    print(f"{arguments.metric} of {count_of(len(runs), 'run')}: {arguments.output}")


def _labelled(run: str) -> tuple[str, Path]:
    label, equals, folder = run.partition("=")
    path = named_path(folder if equals else run)
    return (label if equals else path.name), path
