"""Weight decay

PyTorch's SGD adds decay to the gradient; Keras' SGD shrinks the weight instead."""

# --- shared
import numpy as np

# Keras rounds them to float32, which holds these exactly.
rate, momentum, decay = 0.125, 0.875, 2**-6
generator = np.random.default_rng(0)
start = generator.standard_normal(5)
gradients = generator.standard_normal((4, 5))

# --- torch
import torch

weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
optimizer = torch.optim.SGD([weight], lr=rate, momentum=momentum, weight_decay=decay)
for gradient in gradients:
    weight.grad = torch.from_numpy(gradient)
    optimizer.step()
ours = weight.detach().numpy()

# --- keras
import keras

variable = keras.Variable(start, dtype="float64")
sgd = keras.optimizers.SGD(learning_rate=rate, momentum=momentum)  # no weight_decay
for gradient in gradients:
    gradient = keras.ops.convert_to_tensor(gradient, dtype="float64") + decay * variable
    sgd.apply([gradient], [variable])
theirs = keras.ops.convert_to_numpy(variable)

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs, ours)
stock = keras.Variable(start, dtype="float64")
sgd = keras.optimizers.SGD(learning_rate=rate, momentum=momentum, weight_decay=decay)
for gradient in gradients:
    sgd.apply([keras.ops.convert_to_tensor(gradient, dtype="float64")], [stock])
assert np.abs(keras.ops.convert_to_numpy(stock) - ours).max() > 0.001
