"""Cross-entropy with smoothed labels

PyTorch takes class indices; Keras needs one-hot labels and `from_logits=True`."""

# --- shared
import numpy as np

logits = np.random.default_rng(0).standard_normal((4, 10))
labels = np.array([3, 1, 4, 1])

# --- torch
import torch

loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
ours = loss(torch.from_numpy(logits), torch.from_numpy(labels)).item()

# --- keras
import keras

keras.config.set_floatx("float64")
loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
theirs = float(loss(keras.utils.to_categorical(labels, 10), logits))
keras.config.set_floatx("float32")

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs, ours)
