"""Images as data

RGB scaled to 0 ... 1, then normalised by mean and deviation; channels are first or last."""

# --- shared
import numpy as np

from resnet_parity.photographs import MEAN, STD

photograph = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)  # (H, W, RGB)

# --- torch
import torch

image = torch.from_numpy(photograph).permute(2, 0, 1) / 255
mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (MEAN, STD))
ours = ((image - mean) / std).unsqueeze(0).numpy()

# --- keras
import keras
from keras import layers

rescale = layers.Rescaling(1 / 255)
norm = layers.Normalization(mean=MEAN, variance=np.square(STD))
theirs = keras.ops.convert_to_numpy(norm(rescale(photograph[None])))

# --- agree
from resnet_parity.site.cookbook import agree

assert ours.shape == (1, 3, 8, 10) and theirs.shape == (1, 8, 10, 3)
agree(theirs.transpose(0, 3, 1, 2), ours, "float32")
