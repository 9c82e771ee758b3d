"""Freezing

In PyTorch a frozen norm updates its statistics until `eval`; in Keras it runs in inference mode."""

# --- shared
import numpy as np

import resnet_keras
import resnet_torch

weights = resnet_torch.get_weights(resnet_torch.resnet20())
image = np.random.default_rng(0).standard_normal((2, 3, 32, 48)).astype("float32")

# --- torch
import torch

model = resnet_torch.resnet20()
resnet_torch.set_weights(model, weights)
model.requires_grad_(False)
model.fc.requires_grad_(True)
model.train()
model(torch.from_numpy(image))
ours_updated = resnet_torch.get_weights(model)
resnet_torch.set_weights(model, weights)
for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        module.eval()
ours_trained = [name for name, value in model.named_parameters() if value.requires_grad]
model(torch.from_numpy(image))
ours_after = resnet_torch.get_weights(model)

# --- keras
keras_model = resnet_keras.resnet20()
resnet_keras.set_weights(keras_model, weights)
for layer in keras_model.layers:  # setting it on the model would override all layers
    layer.trainable = layer.name == "fc"
theirs_trained = [value.path for value in keras_model.trainable_variables]
keras_model(image.transpose(0, 2, 3, 1), training=True)
theirs_after = resnet_keras.get_weights(keras_model)

# --- agree
assert ours_trained == ["fc.weight", "fc.bias"]
assert theirs_trained == ["fc/kernel", "fc/bias"]
assert not np.array_equal(ours_updated["bn1.running_mean"], weights["bn1.running_mean"])
for name, value in weights.items():  # after `eval`, and in Keras, no statistic changes
    assert np.array_equal(ours_after[name], value)
    assert np.array_equal(theirs_after[name], value)
