"""Training or inference

A state of the module in PyTorch, an argument of the call in Keras."""

# --- shared
import numpy as np

image = np.random.default_rng(0).standard_normal((2, 3, 4, 5))

# --- torch
import torch
from torch import nn

norm = nn.BatchNorm2d(3).double()
with torch.no_grad():
    norm.train()
    ours_training = norm(torch.from_numpy(image)).numpy()
    norm.eval()
    norm.reset_running_stats()
    ours_predicting = norm(torch.from_numpy(image)).numpy()

# --- keras
import keras
from keras import layers

layer = layers.BatchNormalization(epsilon=1e-5, dtype="float64")
x = image.transpose(0, 2, 3, 1)
theirs_predicting = keras.ops.convert_to_numpy(layer(x, training=False))
theirs_training = keras.ops.convert_to_numpy(layer(x, training=True))

# --- agree
from resnet_parity.site.cookbook import agree

for ours, theirs in ((ours_training, theirs_training), (ours_predicting, theirs_predicting)):
    agree(theirs.transpose(0, 3, 1, 2), ours)
assert np.abs(ours_training - ours_predicting).max() > 0.01
