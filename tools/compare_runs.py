"""The same as `resnet-backbone compare`."""

from resnet_backbone.cli.compare import main
from resnet_backbone.cli.runner import run

if __name__ == "__main__":
    run(main)
