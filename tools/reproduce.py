"""The same as `resnet-backbone reproduce`."""

from resnet_backbone.cli.reproduce import main
from resnet_backbone.cli.runner import run

if __name__ == "__main__":
    run(main)
