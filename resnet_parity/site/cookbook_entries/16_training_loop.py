"""A training loop, and `fit`

With a fixed learning rate, no weight decay and no norms, the stock optimisers agree."""

# --- shared
import numpy as np

generator = np.random.default_rng(0)
images = generator.standard_normal((8, 6))
labels = generator.integers(0, 3, 8)
kernel = generator.standard_normal((3, 6))

# --- torch
import torch
from torch.utils.data import DataLoader, TensorDataset

model = torch.nn.Linear(6, 3, bias=False).double()
with torch.no_grad():
    model.weight.copy_(torch.from_numpy(kernel))
optimizer = torch.optim.SGD(model.parameters(), lr=0.125, momentum=0.875)
loss = torch.nn.CrossEntropyLoss()
data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
for _ in range(3):
    for image, label in DataLoader(data, batch_size=4, shuffle=False):
        optimizer.zero_grad()
        loss(model(image), label).backward()
        optimizer.step()
ours = model.weight.detach().numpy()

# --- keras
import keras

keras.config.set_floatx("float64")
x = keras.Input((6,), dtype="float64")
dense = keras.layers.Dense(3, use_bias=False, dtype="float64")
keras_model = keras.Model(x, dense(x))
dense.set_weights([kernel.T])
keras_model.compile(
    keras.optimizers.SGD(learning_rate=0.125, momentum=0.875),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
keras_model.fit(images, labels, batch_size=4, epochs=3, shuffle=False, verbose=0)
theirs = keras.ops.convert_to_numpy(dense.kernel)
keras.config.set_floatx("float32")

# --- agree
from resnet_parity.site.cookbook import agree

agree(theirs.T, ours)
assert np.abs(ours - kernel).max() > 0.1  # the weights have changed
