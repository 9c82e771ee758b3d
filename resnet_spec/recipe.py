"""How a ResNet is trained, as data: one update rule for both implementations.

One step for each trained tensor w with its gradient g and, with momentum, its buffer v:

    g = g + weight_decay * w          L2, coupled: the decay passes through the buffer
    v = momentum * v + g              from zero; it holds gradients, never a learning rate
    w = w - learning_rate * v         Nesterov: w - learning_rate * (g + momentum * v)

A changed learning rate therefore acts on the whole buffer at once. This is the rule of PyTorch's
SGD. Keras follows Sutskever et al. 2013, section 2, which keeps the learning rate inside the
buffer: the same only while the rate is constant. Keras also applies the decay outside the buffer.

The loss is the mean over the batch of the cross-entropy with smoothed labels: a fraction
`label_smoothing` of each label is spread evenly over all classes (Szegedy et al. 2015,
arXiv:1512.00567, section 7).

A batch normalisation normalises with the variance of the batch, over its n values per channel, and
tracks n / (n - 1) times that, the unbiased estimate (Ioffe and Szegedy 2015, arXiv:1502.03167,
algorithm 2):

    running = bn_decay * running + (1 - bn_decay) * tracked

With `ema`, an exponential moving average of each trained tensor follows its steps, from the weights
after the first one, and it is evaluated in place of the weights (Szegedy et al. 2015, section 8):

    average = ema * average + (1 - ema) * w

Running statistics are such averages already and are not averaged again. This is what PyTorch's
`AveragedModel(use_buffers=False)` and Keras' `use_ema` do; timm's `ModelEmaV3` averages them, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args

from resnet_spec.validate import type_mistakes, unwrap_scalars

Schedule = Literal["constant", "step", "cosine"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)
RecipeName = Literal["paper", "bag-of-tricks", "fine-tune"]
RECIPES: tuple[str, ...] = get_args(RecipeName)


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names every problem."""


@dataclass(frozen=True)
class Recipe:
    """The options of the rule above; the defaults are those of He et al. 2015, section 3.4.

    * `decay_all`: False exempts every tensor with one axis (biases, gammas and betas);
    * `schedule`: the learning rate is constant ("constant"), divided by ten after every `period`
      steps ("step"), or falls to zero along half a cosine over `period` steps ("cosine", Loshchilov
      and Hutter 2016, arXiv:1608.03983, equation 5);
    * `warmup`: before that, the learning rate rises linearly over this number of steps (He et al.
      2018, arXiv:1812.01187, section 3.1);
    * `ema`: the decay of the averages of the weights; 0 for none.

    Raises `RecipeError` when a field is out of range.
    """

    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_all: bool = True
    label_smoothing: float = 0.0
    schedule: Schedule = "constant"
    period: int = 100
    warmup: int = 0
    ema: float = 0.0

    def __post_init__(self) -> None:
        unwrap_scalars(self)
        problems = list(_mistakes(self))
        if problems:
            raise RecipeError("\n".join(["the recipe cannot be used:", *problems]))

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        step -= self.warmup
        if self.schedule == "step":
            return self.learning_rate / 10.0 ** (step // self.period)
        if self.schedule == "cosine":
            done = min(step, self.period) / self.period
            return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate

    def decays(self, shape: Sequence[int]) -> bool:
        """Whether weight decay applies to a tensor of that shape."""
        return self.decay_all or len(shape) > 1


def named_recipe(name: RecipeName, *, epochs: int, steps: int, batch: int) -> Recipe:
    """The recipe of that name for `epochs` of `steps` each, with `batch` images a step.

    * `paper`: the learning rate is divided by ten after each third of the steps (He et al. 2015,
      section 3.4, where an error that no longer falls decides).
    * `bag-of-tricks`: five epochs of warm-up, at most a tenth of all; cosine, Nesterov, smoothed
      labels, no decay of biases and norms (He et al. 2018, arXiv:1812.01187, sections 3 and 5).
    * `fine-tune`: a tenth of the learning rate, cosine and Nesterov (Kornblith et al. 2018,
      arXiv:1805.08974).

    The learning rate is that for 256 images, times batch / 256 (Goyal et al. 2017,
    arXiv:1706.02677). Raises `RecipeError` for another name.
    """
    total, rate = epochs * steps, 0.1 * batch / 256
    if name == "paper":
        return Recipe(rate, schedule="step", period=max(1, -(-total // 3)))
    if name == "bag-of-tricks":
        warmup = min(5 * steps, total // 10)
        period = max(1, total - warmup)
        tricks = Recipe(rate, nesterov=True, decay_all=False, label_smoothing=0.1)
        return replace(tricks, schedule="cosine", period=period, warmup=warmup)
    if name == "fine-tune":
        return Recipe(rate / 10, nesterov=True, schedule="cosine", period=max(1, total))
    raise RecipeError(f"unknown recipe {name!r}; it is one of: {', '.join(RECIPES)}")


class Batches(Protocol):
    """The batches of each epoch, for both frameworks."""

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        ...

    def load(self, epoch: int, index: int) -> tuple[Any, Any]:
        """Batch `index` of an epoch: float32 images (N, H, W, C) and labels (N,), as NumPy arrays.

        It does not depend on the batches that were loaded before, so that any process can load it.
        """
        ...


def momentum_name(name: str) -> str:
    """The canonical name of the momentum buffer of a tensor."""
    return f"{name}.momentum"


def ema_name(name: str) -> str:
    """The canonical name of the moving average of a tensor."""
    return f"{name}.ema"


def _mistakes(recipe: Recipe) -> Iterator[str]:
    mistyped = [f"  - {message}" for message in type_mistakes(recipe)]
    if mistyped:
        yield from mistyped
        return
    for name, most in (("momentum", 1), ("weight_decay", 1), ("label_smoothing", 1), ("ema", 1)):
        if not 0 <= getattr(recipe, name) < most:
            yield f"  - {name} must lie in [0, {most}), not {getattr(recipe, name)}"
    if not 0 < recipe.learning_rate < math.inf:
        yield f"  - learning_rate must be positive and finite, not {recipe.learning_rate}"
    if recipe.nesterov and recipe.momentum == 0:
        yield "  - nesterov looks ahead along the momentum, and momentum is 0"
    if recipe.period < 1:
        yield f"  - period must be at least 1 step, not {recipe.period}"
    if recipe.warmup < 0:
        yield f"  - warmup must be at least 0 steps, not {recipe.warmup}"
