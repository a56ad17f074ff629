"""The same as `resnet-backbone analyze`."""

from resnet_backbone.cli.analyze import main
from resnet_backbone.cli.runner import run

if __name__ == "__main__":
    run(main)
