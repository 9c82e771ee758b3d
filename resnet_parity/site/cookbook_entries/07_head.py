"""Global average and classifier

Both return (N, C), so the layouts agree from here on; only the dense kernel is transposed."""

# --- shared
import numpy as np

generator = np.random.default_rng(0)
features = generator.standard_normal((2, 6, 3, 4))
kernel, bias = generator.standard_normal((5, 6)), generator.standard_normal(5)

# --- torch
import torch
from torch import nn

head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).double()
with torch.no_grad():
    head[2].weight.copy_(torch.from_numpy(kernel))
    head[2].bias.copy_(torch.from_numpy(bias))
    ours = head(torch.from_numpy(features)).numpy()

# --- keras
import keras
from keras import layers

dense = layers.Dense(5, dtype="float64")  # logits: no softmax
dense.build((None, 6))
dense.set_weights([kernel.T, bias])
pooled = layers.GlobalAveragePooling2D(dtype="float64")(features.transpose(0, 2, 3, 1))
theirs = keras.ops.convert_to_numpy(dense(pooled))

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs, ours)
