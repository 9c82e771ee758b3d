"""Kaiming initialisation

Keras' `HeNormal` is truncated and uses the fan-in. Generators differ; the distributions agree."""

# --- shared
import numpy as np

fan_out = 256 * 3 * 3

# --- torch
import torch
from torch import nn

conv = nn.Conv2d(128, 256, 3)
torch.manual_seed(0)
nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
ours = conv.weight.detach().numpy()

# --- keras
import keras
from keras import initializers

initializer = initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=0)
theirs = keras.ops.convert_to_numpy(initializer((3, 3, 128, 256)))

# --- agree
expected = np.sqrt(2 / fan_out)
for kernel in (ours, theirs):  # 294,912 draws: a deviation of 1 of 768 is one sigma
    assert abs(kernel.std() / expected - 1) < 5 / 768
    assert np.abs(kernel).max() > 4 * expected  # nothing is cut off
he_normal = keras.ops.convert_to_numpy(initializers.HeNormal(seed=0)((3, 3, 128, 256)))
assert he_normal.std() > 1.3 * expected
