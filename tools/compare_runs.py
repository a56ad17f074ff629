"""The same as `resnet-backbone compare`."""

from resnet_backbone.cli.runner import command, run

main = command("compare")

if __name__ == "__main__":
    run(main)
