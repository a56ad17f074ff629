"""The same as `resnet-backbone evaluate`."""

from resnet_backbone.cli.runner import command, run

main = command("evaluate")

if __name__ == "__main__":
    run(main)
