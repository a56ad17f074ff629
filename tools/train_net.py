"""The same as `resnet-backbone train`."""

from resnet_backbone.cli.runner import command, run

main = command("train")

if __name__ == "__main__":
    run(main)
