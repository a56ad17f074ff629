"""The same as `resnet-backbone convert`."""

from resnet_backbone.cli.runner import command, run

main = command("convert")

if __name__ == "__main__":
    run(main)
