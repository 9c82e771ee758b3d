"""Gradients

Autograd fills `.grad`. Keras has no function for it; use the backend's, here TensorFlow's."""

# --- shared
import numpy as np

generator = np.random.default_rng(0)
x, kernel = generator.standard_normal((4, 6)), generator.standard_normal((5, 6))

# --- torch
import torch

weight = torch.from_numpy(kernel.copy()).requires_grad_()
loss = torch.relu(torch.from_numpy(x) @ weight.T).square().sum()
loss.backward()
ours = weight.grad.numpy()

# --- keras
import keras
import tensorflow as tf

variable = keras.Variable(kernel.T, dtype="float64")
with tf.GradientTape() as tape:
    loss = keras.ops.sum(keras.ops.square(keras.ops.relu(keras.ops.matmul(x, variable))))
(gradient,) = tape.gradient(loss, [variable.value])
theirs = keras.ops.convert_to_numpy(gradient)

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs.T, ours)
