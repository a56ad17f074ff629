"""Converts a weight file to another framework's names, and proves that it computes the same."""

from __future__ import annotations

from resnet_backbone.cli.choices import CONVERT_TARGETS
from resnet_backbone.cli.options import add_overwrite_option, named_path
from resnet_backbone.cli.runner import late_imports, make_parser

EXAMPLES = """examples:
  {convert} resnet50-0676ba61.pth r50.safetensors --to safetensors
  {convert} R-101.pkl r101.pth --to mmdet
  {convert} R-101.pkl r101.safetensors --to safetensors --fold RGB
  {convert} retinanet/model_final.pth r50.safetensors --to safetensors --backbone
  {convert} mine.pth mine_d2.pth --to detectron2 --arch resnet50 \\
      --channel-order RGB --mean 123.675 116.28 103.53 --std 58.395 57.12 57.375 \\
      --stride-in-1x1 false

exit codes: 0 done, 2 weights or command line, 4 storage, 70 a bug
"""


def main(argv: list[str] | None = None) -> None:
    """Reads the command line, converts and prints the proof."""
    parser = make_parser("convert", __doc__, EXAMPLES)
    parser.add_argument("input", metavar="IN", help="a weight file of any known layout")
    parser.add_argument(
        "output", metavar="OUT", type=named_path, help="a .pth or .safetensors file"
    )
    parser.add_argument("--to", required=True, choices=CONVERT_TARGETS, help="whose names to write")
    parser.add_argument("--fold", choices=("RGB", "BGR"), help="pixels that it is to take instead")
    parser.add_argument("--backbone", action="store_true", help="a detector's backbone alone")
    parser.add_argument(
        "--allow-extra",
        nargs="+",
        default=(),
        metavar="PATTERN",
        help="names without a place in our networks that may be left out, as 'aux_head.*'",
    )
    parser.add_argument("--arch", help="the network, where names and shapes leave a choice")
    parser.add_argument("--channel-order", choices=("RGB", "BGR"))
    parser.add_argument("--mean", nargs=3, type=float, help="from 0 to 255, in channel order")
    parser.add_argument("--std", nargs=3, type=float, help="likewise")
    parser.add_argument("--stride-in-1x1", choices=("true", "false"))
    add_overwrite_option(parser)
    arguments = parser.parse_args(argv)
    with late_imports():
        from resnet_backbone.cli.conversion import convert_file

    convert_file(arguments)
