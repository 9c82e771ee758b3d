"""Running statistics

PyTorch's momentum weighs the new value, Keras' the old. PyTorch tracks unbiased variances."""

# --- shared
import numpy as np

image = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
count = 2 * 4 * 5

# --- torch
import torch
from torch import nn

norm = nn.BatchNorm2d(3, momentum=0.1).double().train()
norm(torch.from_numpy(image))
ours_mean, ours_variance = norm.running_mean.numpy(), norm.running_var.numpy()

# --- keras
import keras
from keras import layers

layer = layers.BatchNormalization(momentum=0.9, dtype="float64")
layer(image.transpose(0, 2, 3, 1), training=True)
theirs_mean = keras.ops.convert_to_numpy(layer.moving_mean)
theirs_variance = keras.ops.convert_to_numpy(layer.moving_variance)

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs_mean, ours_mean)
biased = image.var(axis=(0, 2, 3))
agree(theirs_variance, 0.9 + 0.1 * biased)
unbiased = biased * count / (count - 1)
agree(ours_variance, 0.9 + 0.1 * unbiased)
