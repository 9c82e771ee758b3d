"""Grad-CAM

The last feature map, weighted by the mean gradient of a logit; a hook keeps it, or a second model.
"""

# --- shared
import numpy as np

import resnet_torch

model = resnet_torch.resnet20().double().eval()
weights = resnet_torch.get_weights(model)
image, label = np.random.default_rng(0).standard_normal((1, 3, 32, 48)), 3

# --- torch
import torch

kept = []
hook = model.avgpool.register_forward_pre_hook(lambda module, given: kept.append(given[0]))
logit = model(torch.from_numpy(image))[0, label]
hook.remove()
(features,) = kept
(gradient,) = torch.autograd.grad(logit, features)
importance = gradient.mean(dim=(2, 3), keepdim=True)
ours = (importance * features).sum(dim=1).relu().detach().numpy()

# --- keras
import keras
import tensorflow as tf

import resnet_keras

network = resnet_keras.resnet20(dtype="float64")
resnet_keras.set_weights(network, weights)
pooled = network.get_layer("avgpool").input
both = keras.Model(network.input, [pooled, network.output], dtype="float64")
with tf.GradientTape() as tape:
    features, logits = both(image.transpose(0, 2, 3, 1), training=False)
    logit = logits[0, label]
gradient = tape.gradient(logit, features)
importance = keras.ops.mean(gradient, axis=(1, 2), keepdims=True)
theirs = keras.ops.convert_to_numpy(keras.ops.relu(keras.ops.sum(importance * features, axis=-1)))

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs, ours)
assert ours.max() > 0
row = weights["fc.weight"][label]  # the class activation map
agree(ours, np.maximum(np.einsum("nchw,c->nhw", kept[0].detach().numpy(), row), 0) / (8 * 12))
