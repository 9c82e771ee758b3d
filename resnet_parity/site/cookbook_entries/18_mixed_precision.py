"""Mixed precision

A context of the call in PyTorch, a policy of the layers in Keras; weights stay float32."""

# --- shared
import numpy as np

generator = np.random.default_rng(0)
x = generator.standard_normal((4, 6)).astype("float32")
kernel = generator.standard_normal((5, 6)).astype("float32")

# --- torch
import torch

linear = torch.nn.Linear(6, 5, bias=False)
with torch.no_grad():
    linear.weight.copy_(torch.from_numpy(kernel))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = linear(torch.from_numpy(x))
ours = result.float().numpy()

# --- keras
import keras

dense = keras.layers.Dense(5, use_bias=False, dtype="mixed_bfloat16")
dense.build((None, 6))
dense.set_weights([kernel.T])
theirs = keras.ops.convert_to_numpy(keras.ops.cast(dense(x), "float32"))

# --- agree
from resnet_parity.site.cookbook import agree

assert result.dtype == torch.bfloat16 and dense.compute_dtype == "bfloat16"
assert linear.weight.dtype == torch.float32 and dense.kernel.dtype == "float32"
agree(theirs, ours, "bfloat16")
