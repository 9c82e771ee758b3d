"""The commands of `resnet-parity`, one module each: `add(commands)` makes its parser."""
