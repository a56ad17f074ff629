"""The same as `resnet-backbone convert`."""

from resnet_backbone.cli.convert import main
from resnet_backbone.cli.runner import run

if __name__ == "__main__":
    run(main)
