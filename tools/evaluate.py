"""The same as `resnet-backbone evaluate`."""

from resnet_backbone.cli.evaluate import main
from resnet_backbone.cli.runner import run

if __name__ == "__main__":
    run(main)
