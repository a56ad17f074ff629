"""The same as `resnet-backbone pretrain`."""

from resnet_backbone.cli.pretrain import main
from resnet_backbone.cli.runner import run

if __name__ == "__main__":
    run(main)
