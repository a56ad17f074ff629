"""The same as `resnet-backbone reproduce`."""

from resnet_backbone.cli.runner import command, run

main = command("reproduce")

if __name__ == "__main__":
    run(main)
