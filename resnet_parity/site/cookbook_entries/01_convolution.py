"""Convolution

Images and kernels have their axes in another order; the numbers are the same."""

# --- shared
import numpy as np

draw = np.random.default_rng(0).standard_normal
image = draw((2, 3, 8, 10))  # (N, C, H, W)
kernel = draw((4, 3, 3, 3))  # (out, in, H, W)

# --- torch
import torch
from torch import nn

conv = nn.Conv2d(3, 4, kernel_size=3, bias=False).double()
with torch.no_grad():
    conv.weight.copy_(torch.from_numpy(kernel))
    ours = conv(torch.from_numpy(image)).numpy()

# --- keras
import keras
from keras import layers

layer = layers.Conv2D(4, kernel_size=3, use_bias=False, dtype="float64")
layer.build((None, None, None, 3))
layer.kernel.assign(kernel.transpose(2, 3, 1, 0))  # (H, W, in, out)
theirs = keras.ops.convert_to_numpy(layer(image.transpose(0, 2, 3, 1)))

# --- agree
from resnet_parity.site.cookbook import agree

assert ours.shape == (2, 4, 6, 8) and theirs.shape == (2, 6, 8, 4)
agree(theirs.transpose(0, 3, 1, 2), ours)
