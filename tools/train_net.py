"""The same as `resnet-backbone train`."""

from resnet_backbone.cli.runner import run
from resnet_backbone.cli.train import main

if __name__ == "__main__":
    run(main)
