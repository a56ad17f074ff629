"""The commands: `resnet-backbone train`, and tools/train_net.py, which calls the same function."""
