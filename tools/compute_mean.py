"""The same as `resnet-backbone compute-mean`."""

from resnet_backbone.cli.compute_mean import main
from resnet_backbone.cli.runner import run

if __name__ == "__main__":
    run(main)
