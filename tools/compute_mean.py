"""The same as `resnet-backbone compute-mean`."""

from resnet_backbone.cli.runner import command, run

main = command("compute-mean")

if __name__ == "__main__":
    run(main)
