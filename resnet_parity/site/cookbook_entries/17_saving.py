"""Saving and loading

Both read safetensors, which holds no code. Never unpickle a file that you do not trust."""

# --- shared
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import load_file, save_file

import resnet_keras
import resnet_torch

folder = TemporaryDirectory()
file = Path(folder.name, "resnet20.safetensors")
image = np.random.default_rng(0).standard_normal((2, 3, 32, 48)).astype("float32")

# --- torch
import torch

model = resnet_torch.resnet20().eval()
save_file(resnet_torch.get_weights(model), file)
with torch.no_grad():
    ours = model(torch.from_numpy(image)).numpy()

own = Path(folder.name, "resnet20.pt")
torch.save(model.state_dict(), own)
loaded = resnet_torch.resnet20()
loaded.load_state_dict(torch.load(own, weights_only=True))
ours_loaded = resnet_torch.get_weights(loaded)

# --- keras
import keras

keras_model = resnet_keras.resnet20()
resnet_keras.set_weights(keras_model, load_file(file))
theirs = keras.ops.convert_to_numpy(keras_model(image.transpose(0, 2, 3, 1), training=False))

own = Path(folder.name, "resnet20.weights.h5")
keras_model.save_weights(own)
keras_loaded = resnet_keras.resnet20()
keras_loaded.load_weights(own)
theirs_loaded = resnet_keras.get_weights(keras_loaded)

# --- agree
from resnet_parity.site.cookbook import agree

folder.cleanup()
agree(theirs, ours, "float32")
for name, value in resnet_torch.get_weights(model).items():
    assert np.array_equal(ours_loaded[name], value)
    assert np.array_equal(theirs_loaded[name], value)
