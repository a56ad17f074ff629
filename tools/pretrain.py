"""The same as `resnet-backbone pretrain`."""

from resnet_backbone.cli.runner import command, run

main = command("pretrain")

if __name__ == "__main__":
    run(main)
