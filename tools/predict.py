"""The same as `resnet-backbone predict`."""

from resnet_backbone.cli.predict import main
from resnet_backbone.cli.runner import run

if __name__ == "__main__":
    run(main)
