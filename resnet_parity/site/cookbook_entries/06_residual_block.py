"""A residual sum

A module in PyTorch, a function of tensors in Keras, where a layer is found by its name."""

# --- shared
import numpy as np

image = np.random.default_rng(0).standard_normal((2, 3, 8, 10))
kernel = np.random.default_rng(1).standard_normal((3, 3, 1, 1))

# --- torch
import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(x) + x)


block = Residual().double()
with torch.no_grad():
    block.conv.weight.copy_(torch.from_numpy(kernel))
    ours = block(torch.from_numpy(image)).numpy()

# --- keras
import keras
from keras import layers


def residual(x):
    y = layers.Conv2D(3, 1, use_bias=False, name="conv", dtype="float64")(x)
    y = layers.Add(name="add", dtype="float64")([y, x])
    return layers.ReLU(name="relu", dtype="float64")(y)


x = keras.Input((None, None, 3), dtype="float64")
model = keras.Model(x, residual(x))
model.get_layer("conv").kernel.assign(kernel.transpose(2, 3, 1, 0))
theirs = keras.ops.convert_to_numpy(model(image.transpose(0, 2, 3, 1)))

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs.transpose(0, 3, 1, 2), ours)
