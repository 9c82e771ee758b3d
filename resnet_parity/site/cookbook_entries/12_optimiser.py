"""Stochastic gradient descent with momentum

Equal while the rate is constant. Keras' buffer holds gradients times the rate, negated."""

# --- shared
import numpy as np

# Keras' SGD rounds rate and momentum to float32, which holds these exactly.
rate, momentum = 0.125, 0.875
generator = np.random.default_rng(0)
start = generator.standard_normal(5)
gradients = generator.standard_normal((4, 5))

# --- torch
import torch

weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
optimizer = torch.optim.SGD([weight], lr=rate, momentum=momentum, nesterov=True)
for gradient in gradients:
    weight.grad = torch.from_numpy(gradient)
    optimizer.step()
ours = weight.detach().numpy()
buffer = optimizer.state[weight]["momentum_buffer"].numpy()

# --- keras
import keras

variable = keras.Variable(start, dtype="float64")
sgd = keras.optimizers.SGD(learning_rate=rate, momentum=momentum, nesterov=True)
for gradient in gradients:
    sgd.apply([keras.ops.convert_to_tensor(gradient, dtype="float64")], [variable])
theirs = keras.ops.convert_to_numpy(variable)
velocity = keras.ops.convert_to_numpy(sgd.momentums[0])

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs, ours)
agree(velocity, -rate * buffer)
