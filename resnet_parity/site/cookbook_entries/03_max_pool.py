"""Max-pool with a border

PyTorch pads with minus infinity. After a ReLU zeros do the same; elsewhere they may win."""

# --- shared
import numpy as np

image = np.random.default_rng(0).standard_normal((2, 3, 8, 10)) - 1

# --- torch
import torch
from torch import nn

pool = nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
ours = pool(torch.from_numpy(image)).numpy()

# --- keras
import keras
from keras import layers

relu = layers.ReLU(dtype="float64")
pad = layers.ZeroPadding2D(1, dtype="float64")
pool2d = layers.MaxPooling2D(3, strides=2, dtype="float64")
theirs = keras.ops.convert_to_numpy(pool2d(pad(relu(image.transpose(0, 2, 3, 1)))))

# --- agree
assert np.array_equal(theirs.transpose(0, 3, 1, 2), ours)
before_a_relu = nn.MaxPool2d(3, stride=2, padding=1)(torch.from_numpy(image)).numpy()
with_zeros = keras.ops.convert_to_numpy(pool2d(pad(image.transpose(0, 2, 3, 1))))
assert not np.array_equal(with_zeros.transpose(0, 3, 1, 2), before_a_relu)
