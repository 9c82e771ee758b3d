"""A schedule of the learning rate

The same cosine: an object that is stepped in PyTorch, a function of the step in Keras."""

# --- shared
steps = 8

# --- torch
import torch

weight = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.SGD([weight], lr=0.1)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
ours = []
for _ in range(steps):
    ours.append(optimizer.param_groups[0]["lr"])
    optimizer.step()
    scheduler.step()

# --- keras
import keras

schedule = keras.optimizers.schedules.CosineDecay(0.1, decay_steps=steps)
theirs = [float(schedule(step)) for step in range(steps)]

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs, ours, "float32")  # Keras computes rates in float32
