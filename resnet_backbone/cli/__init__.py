"""The command-line tools: `resnet-backbone train`, and tools/train_net.py, which does the same."""
