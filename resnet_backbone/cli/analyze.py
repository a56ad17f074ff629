"""Prints parameters, multiply-adds, activations and memory of a network, stage by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_backbone.cli.runner import late_imports, make_parser

if TYPE_CHECKING:
    from resnet_backbone.paper.complexity import Part

EXAMPLES = """examples:
  {analyze} resnet50
  {analyze} resnet50 --stride-in-1x1     # as the paper counts it
  {analyze} resnet18 resnet34 plain34 vgg19
  {analyze} resnet101 --deformable res4 res5 --output-stride 16
  {analyze} --list

exit codes: 0 done, 2 no such network or option, 70 a bug
"""

MAX_SIZE = 4096  # the network is run, and takes gigabytes at that size


def main(argv: list[str] | None = None) -> None:
    """Reads the command line and prints a table for each network."""
    parser = make_parser("analyze", __doc__, EXAMPLES)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks, also vgg16 and vgg19")
    parser.add_argument("--list", action="store_true", help="print the names and exit")
    parser.add_argument("--size", type=int, help="side of the image; 224, or 32 for CIFAR's")
    parser.add_argument("--stride-in-1x1", action="store_true", help="bottlenecks as in the paper")
    parser.add_argument("--output-stride", type=int, default=32, help="8, 16 or 32")
    parser.add_argument("--deformable", nargs="+", default=[], metavar="STAGE", help="res3 res4 ..")
    parser.add_argument("--in-channels", type=int, default=3)
    arguments = parser.parse_args(argv)
    with late_imports():
        from resnet_backbone.backbone.from_timm import STAGES
        from resnet_backbone.backbone.variants import list_backbones
        from resnet_backbone.paper.complexity import measure

    if arguments.list:
        print("\n".join(list_backbones()))
        return
    # argparse takes names after --deformable for stages.
    stages = [word for word in arguments.deformable if word in STAGES]
    names = [*arguments.names, *(word for word in arguments.deformable if word not in STAGES)]
    if not names:
        parser.error("name a network, or give --list")
    if arguments.size is not None and not 1 <= arguments.size <= MAX_SIZE:
        parser.error(f"--size: got {arguments.size}, expected 1 to {MAX_SIZE}")
    for name in names:
        parts = measure(
            name,
            size=arguments.size,
            stride_in_1x1=arguments.stride_in_1x1,
            output_stride=arguments.output_stride,
            deformable=tuple(stages),
            in_channels=arguments.in_channels,
        )
        print(f"{name}\n{_table(parts)}\n{_beside_the_paper(name, parts[-1])}")


def _table(parts: list[Part]) -> str:
    from resnet_backbone.report.tables import align

    rows = [
        (
            part.name,
            f"{part.parameters:,}",
            f"{part.multiply_adds / 1e9:.3f} G",
            f"{part.activations / 1e6:.2f} M",
            f"{part.memory / 2**20:.1f} MiB",
        )
        for part in parts
    ]
    return align([("", "parameters", "multiply-adds", "activations", "memory"), *rows])


def _beside_the_paper(name: str, total: Part) -> str:
    from resnet_backbone.paper.complexity import PAPER_MULTIPLY_ADDS, PAPER_PARAMETERS

    lines = []
    if name in PAPER_MULTIPLY_ADDS:
        paper = PAPER_MULTIPLY_ADDS[name]
        share = total.multiply_adds / paper
        lines.append(f"paper: {paper / 1e9:.1f} G multiply-adds (here {share:.3f} of it)")
    if name in PAPER_PARAMETERS:
        paper = PAPER_PARAMETERS[name]
        share = total.parameters / paper
        lines.append(f"paper: {paper / 1e6:.2f} M parameters (here {share:.3f} of it)")
    return "".join(f"{line}\n" for line in lines)
