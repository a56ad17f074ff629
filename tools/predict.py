"""The same as `resnet-backbone predict`."""

from resnet_backbone.cli.runner import command, run

main = command("predict")

if __name__ == "__main__":
    run(main)
