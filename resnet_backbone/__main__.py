"""`python -m resnet_backbone train ...`: the command `resnet-backbone`, also for torchrun."""

from resnet_backbone.cli.main import entry

if __name__ == "__main__":
    entry()
