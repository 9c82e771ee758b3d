"""Batch normalisation in inference

The default epsilon is 1e-5 in PyTorch and 1e-3 in Keras. The weights have other names."""

# --- shared
import numpy as np

generator = np.random.default_rng(0)
image = generator.standard_normal((2, 3, 8, 10))
gamma, beta, mean = generator.standard_normal((3, 3))
variance = generator.uniform(0.5, 1.5, 3)

# --- torch
import torch
from torch import nn

norm = nn.BatchNorm2d(3, eps=1e-5).double().eval()
norm.load_state_dict(
    {
        "weight": torch.from_numpy(gamma),
        "bias": torch.from_numpy(beta),
        "running_mean": torch.from_numpy(mean),
        "running_var": torch.from_numpy(variance),
        "num_batches_tracked": torch.tensor(0),
    }
)
with torch.no_grad():
    ours = norm(torch.from_numpy(image)).numpy()

# --- keras
import keras
from keras import layers

layer = layers.BatchNormalization(epsilon=1e-5, dtype="float64")
layer.build((None, None, None, 3))
layer.set_weights([gamma, beta, mean, variance])  # gamma, beta, moving mean, moving variance
theirs = layer(image.transpose(0, 2, 3, 1), training=False)
theirs = keras.ops.convert_to_numpy(theirs)

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs.transpose(0, 3, 1, 2), ours)
