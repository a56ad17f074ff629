"""The same as `resnet-backbone analyze`."""

from resnet_backbone.cli.runner import command, run

main = command("analyze")

if __name__ == "__main__":
    run(main)
