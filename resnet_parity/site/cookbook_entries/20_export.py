"""Export

Both frameworks export ONNX; `resnet-parity export` makes the graphs canonical and proves them."""

# --- shared
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime

folder = TemporaryDirectory()
image = np.random.default_rng(0).standard_normal((1, 3, 8, 10)).astype("float32")
kernel = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype("float32")


def run(file, image):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


# --- torch
import torch

conv = torch.nn.Conv2d(3, 4, 3, bias=False).eval()
with torch.no_grad():
    conv.weight.copy_(torch.from_numpy(kernel))
file = Path(folder.name, "torch.onnx")
torch.onnx.export(conv, (torch.from_numpy(image),), file, dynamo=True, verbose=False)
ours = run(file, image)

# --- keras
import keras

x = keras.Input((8, 10, 3))
model = keras.Model(x, keras.layers.Conv2D(4, 3, use_bias=False)(x))
model(image.transpose(0, 2, 3, 1))  # the exporter needs a model that was called
model.set_weights([kernel.transpose(2, 3, 1, 0)])
file = Path(folder.name, "keras.onnx")
model.export(file, format="onnx", verbose=False)
theirs = run(file, image.transpose(0, 2, 3, 1))

# --- agree
from resnet_parity.site.cookbook import agree

folder.cleanup()
agree(theirs.transpose(0, 3, 1, 2), ours, "float32")
