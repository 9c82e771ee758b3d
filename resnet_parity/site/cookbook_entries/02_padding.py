"""Padding at stride 2

Keras' "same" pads an even size only on the right and below; use a padding layer instead."""

# --- shared
import numpy as np

draw = np.random.default_rng(0).standard_normal
image, kernel = draw((2, 3, 8, 10)), draw((4, 3, 3, 3))

# --- torch
import torch
from torch import nn

conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False).double()
with torch.no_grad():
    conv.weight.copy_(torch.from_numpy(kernel))
    ours = conv(torch.from_numpy(image)).numpy()

# --- keras
import keras
from keras import layers

pad = layers.ZeroPadding2D(1, dtype="float64")
conv2d = layers.Conv2D(4, 3, strides=2, padding="valid", use_bias=False, dtype="float64")
conv2d.build((None, None, None, 3))
conv2d.kernel.assign(kernel.transpose(2, 3, 1, 0))
theirs = keras.ops.convert_to_numpy(conv2d(pad(image.transpose(0, 2, 3, 1))))

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs.transpose(0, 3, 1, 2), ours)
same = keras.ops.conv(
    image.transpose(0, 2, 3, 1), kernel.transpose(2, 3, 1, 0), strides=2, padding="same"
)
assert same.shape == theirs.shape  # no warning, but other values
assert np.abs(keras.ops.convert_to_numpy(same) - theirs).max() > 1
