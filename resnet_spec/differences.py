"""Where PyTorch and Keras differ, as data for the README, the site and the tests.

A test for each row shows what goes wrong when the difference is ignored. Both implementations carry
the tag `# DIFFERS(<id>): <summary>` at the line where they must differ.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One difference: its tag, the code of each framework, and the effect of ignoring it.

    `is_of_loops` says that it is one of training loops, and not of models and their updates.
    """

    id: str
    summary: str
    torch: str
    keras: str
    ignored: str
    is_of_loops: bool = False

    @property
    def test(self) -> str:
        """The test of this difference, as pytest names it."""
        return f"parity_tests/spec/test_differences.py::test_{self.id.replace('-', '_')}"


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "layout",
        "torch keeps channels before height and width, Keras after them.",
        "(N, C, H, W)",
        "(N, H, W, C)",
        "a shape error at best; with square maps of C = H a wrong answer",
    ),
    Difference(
        "kernel-layout",
        "torch keeps a kernel as (out, in, H, W), Keras as (H, W, in, out).",
        "conv.weight: oihw",
        "conv.kernel: hwio",
        "H and W swapped fit the shape of every square kernel and give other values",
    ),
    Difference(
        "dense-kernel",
        "torch keeps a dense kernel as (out, in), Keras as (in, out).",
        "fc.weight: oi",
        "fc.kernel: io",
        "a square dense kernel loads untransposed without any warning",
    ),
    Difference(
        "conv-padding",
        "torch pads inside the convolution, Keras with a layer before it.",
        "Conv2d(padding=1)",
        'ZeroPadding2D(1), Conv2D(padding="valid")',
        '"same" at stride 2 pads only right and below on even sizes: same shape, other values',
    ),
    Difference(
        "pool-padding",
        "torch pads a max-pool with -inf; after a ReLU zeros in Keras are equal.",
        "MaxPool2d(3, 2, padding=1)",
        'after a ReLU ZeroPadding2D(1), MaxPooling2D(3, 2); else MaxPooling2D(3, 1, "same"), '
        "MaxPooling2D(1, 2)",
        "equal after a ReLU; without one, with preactivation, zeros win against negative numbers",
    ),
    Difference(
        "average-edge",
        'torch rounds up by ceil_mode, Keras by "same"; neither counts padding.',
        "AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)",
        'AveragePooling2D(2, 2, padding="same")',
        "by default both drop the last row of an odd map, and the shortcut no longer fits",
    ),
    Difference(
        "channel-padding",
        "torch pads any axis, Keras two, so channels swap with the width.",
        "ZeroPad3d((0, 0, 0, 0, before, after))",
        "Permute, ZeroPadding2D(((0, 0), (before, after))), Permute",
        "without the permutations the width is padded; an Add may even broadcast it away",
    ),
    Difference(
        "bn-momentum",
        "torch's momentum weighs the new statistic, Keras' the old one.",
        "BatchNorm2d(momentum=0.1)",
        "BatchNormalization(momentum=0.9)",
        "0.1 copied to Keras forgets nine tenths of the history at every step",
    ),
    Difference(
        "bn-variance",
        "torch tracks the unbiased variance, Keras' stock layer the biased one.",
        "running_var: n / (n - 1) times the batch's",
        "moving_variance: the batch's own; for_training: n / (n - 1) times that",
        "the running variances differ from the first training step, most in the last, small maps",
    ),
    Difference(
        "momentum-buffer",
        "torch's buffer holds gradients, Keras' holds them times the rate.",
        "v = momentum * v + g; w -= lr * v",
        "keras.optimizers.SGD: v = momentum * v - lr * g; w += v",
        "equal while the rate is constant; after a change Keras' buffer still holds the old rate",
    ),
    Difference(
        "weight-decay",
        "torch's decay is part of the gradient, Keras' is applied apart from it.",
        "SGD(weight_decay=1e-4): g += weight_decay * w",
        "keras.optimizers.SGD(weight_decay=1e-4): w -= lr * weight_decay * w",
        "with momentum 0.9 the same number decays ten times less in Keras",
    ),
    Difference(
        "labels",
        "torch smooths labels given as indices, Keras only one-hot labels.",
        "CrossEntropyLoss(label_smoothing=0.1)",
        "CategoricalCrossentropy(from_logits=True, label_smoothing=0.1) of one-hot labels",
        "Keras' loss takes probabilities by default; logits give another number, or NaN",
    ),
    Difference(
        "one-feature",
        "torch returns one feature map in a list, Keras unpacks it.",
        "features_only=True, out_indices=(4,): [map]",
        "features_only=True, out_indices=(4,): map",
        "a loop over the maps walks over the images of the batch instead",
    ),
    Difference(
        "conv-init",
        "Normal by fan-out; Keras' HeNormal is truncated and goes by the fan-in.",
        'kaiming_normal_(mode="fan_out")',
        'VarianceScaling(2.0, "fan_out", "untruncated_normal")',
        "training starts from another distribution, without any message",
    ),
    Difference(
        "dtype",
        "torch converts a finished model, Keras fixes the dtype of layers and Input.",
        "model.to(torch.float64)",
        'set_dtype_policy("float64") and Input(dtype="float64")',
        "a float32 Input, and `predict` of any float64 model, round the images to float32",
    ),
    Difference(
        "train-mode",
        "torch's model is in a mode until it is changed, Keras' fit sets it.",
        "model.train(), model.eval()",
        "model(images, training=True); fit and evaluate pass it",
        "validation in training mode uses the statistics of a batch, and changes the running ones",
        is_of_loops=True,
    ),
    Difference(
        "freezing",
        "torch's frozen norm still follows the batch, Keras' does not.",
        "requires_grad_(False), and eval() for the norms",
        "layer.trainable = False",
        "the running statistics of a frozen network in PyTorch move to those of the new images",
        is_of_loops=True,
    ),
    Difference(
        "zero-grad",
        "torch adds gradients to those of before, Keras' fit has new ones.",
        "optimizer.zero_grad() before backward()",
        "nothing: each step of fit has gradients of its own",
        "each step of a loop in PyTorch follows the sum of all gradients so far",
        is_of_loops=True,
    ),
    Difference(
        "metrics",
        "torch's loop takes its means itself, Keras' fit from its metrics.",
        "loss.item() * len(labels), divided by the number of images",
        'compile(metrics=["accuracy"])',
        "a mean of the means of batches counts a small last batch as a whole one",
        is_of_loops=True,
    ),
    Difference(
        "schedule",
        "torch's loop sets the rate of a step, Keras' callback of an epoch.",
        'group["lr"] = recipe.learning_rate_at(step)',
        "Callback.on_train_batch_begin; LearningRateScheduler counts epochs",
        "a schedule in steps that is given to LearningRateScheduler hardly begins",
        is_of_loops=True,
    ),
    Difference(
        "loss-scale",
        "torch scales a float16 loss beside the optimiser, Keras in it.",
        "GradScaler: scale(loss).backward(), step(optimizer), update()",
        "LossScaleOptimizer(optimizer)",
        "small gradients become zero in float16, without any message",
        is_of_loops=True,
    ),
    Difference(
        "ema",
        "torch averages weights in a second model, Keras in its optimiser.",
        "AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))",
        "SGD(use_ema=True, ema_momentum=decay)",
        "fit of Keras ends with the averages in the model, and a second fit goes on from them",
        is_of_loops=True,
    ),
    Difference(
        "shuffle",
        "torch's loader shuffles images, Keras' fit batches of a dataset.",
        "DataLoader(shuffle=True)",
        "fit(shuffle=True): of a PyDataset it shuffles whole batches, of arrays images",
        "the same images meet in a batch in every epoch",
        is_of_loops=True,
    ),
)
