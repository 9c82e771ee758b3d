"""The PyTorch adapter for runs: start, train for epochs, read and set all that a run needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.optim.swa_utils import AveragedModel

from resnet_spec import Architecture, Batches, Recipe, ema_name

from resnet_parity.adapters.protocol import EMA_STEPS, LOSS_SCALE, split_state
from resnet_parity.adapters.torch import training_state
from resnet_parity.adapters.torch.devices import devices as devices
from resnet_parity.adapters.torch.devices import largest as largest
from resnet_parity.adapters.torch.devices import processes as processes
from resnet_parity.adapters.torch.modes import default_device
from resnet_parity.errors import ParityError
from resnet_torch import fit as loop
from resnet_torch.inference import prepare
from resnet_torch.model import create_model
from resnet_torch.optimizer import averaged, get_ema, set_ema, sgd
from resnet_torch.training import cross_entropy, for_training, freeze_backbone
from resnet_torch.weights import set_weights


@dataclass(frozen=True)
class Run:
    """A training state, the dtype to compute in, the scale of a float16 loss, and the averages."""

    recipe: Recipe
    training_state: training_state.TrainingState
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler
    average: AveragedModel | None


def start(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    recipe: Recipe,
    dtype: str,
    *,
    frozen: bool = False,
    synchronized: bool = False,
) -> Run:
    """Build a model with these weights; bfloat16 and float16 mean mixed precision.

    With `frozen`, only the classifier is trained; with `synchronized`, norms take the statistics of
    the batches of all processes together.
    """
    device = default_device()
    is_mixed = dtype in ("bfloat16", "float16")
    model = create_model(architecture, dtype="float32" if is_mixed else dtype).to(device)
    kind = "float32" if is_mixed else dtype
    set_weights(model, {name: array.astype(kind) for name, array in weights.items()})
    model = for_training(model, synchronized=synchronized)
    model = freeze_backbone(model) if frozen else model
    scaler = torch.amp.GradScaler(device, init_scale=2.0**15, enabled=dtype == "float16")
    parts = model, sgd(model, recipe), cross_entropy(model, recipe)
    average = averaged(*parts[:2], recipe)
    return Run(recipe, parts, getattr(torch, dtype) if is_mixed else None, scaler, average)


def fit(run: Run, train: Batches, val: Batches, **options: Any) -> None:
    """Train for epochs; the options are those of `resnet_torch.fit.fit`."""
    options |= {"dtype": run.dtype, "scaler": run.scaler, "average": run.average}
    if options.get("compiled"):  # it compiles otherwise where it saw images of other sizes before
        torch.compiler.reset()
    try:
        loop.fit(*run.training_state, run.recipe, train, val, **options)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise ParityError(
                "another process of this run ended; start the command again with --resume, which "
                "goes on from the last checkpoint"
            ) from error
        raise


def get_state(run: Run) -> dict[str, np.ndarray]:
    """Every weight, statistic, momentum buffer and average, and the loss scale with its steps."""
    state = training_state.get_state(run.training_state)
    if run.scaler.is_enabled():
        found = run.scaler.state_dict()
        state[LOSS_SCALE] = np.array([found["scale"], found["_growth_tracker"]])
    if run.average:
        state |= {ema_name(name): value for name, value in get_ema(run.average).items()}
        state[EMA_STEPS] = np.array([int(run.average.n_averaged)])
    return state


def set_state(run: Run, state: Mapping[str, np.ndarray]) -> None:
    """Set everything that `get_state` returns."""
    tensors, averages, steps_of_ema = split_state(state)
    training_state.set_state(run.training_state, tensors)
    if run.scaler.is_enabled() and LOSS_SCALE in state:
        scale, steps = state[LOSS_SCALE]
        own = {"scale": float(scale), "_growth_tracker": int(steps)}
        run.scaler.load_state_dict(run.scaler.state_dict() | own)
    if run.average:
        set_ema(run.average, averages, steps_of_ema)


def classifier(
    architecture: Architecture, weights: Mapping[str, np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images (N, H, W, C) to logits (N, classes), in float32."""
    device = default_device()
    model = create_model(architecture, dtype="float32")
    set_weights(model, weights)
    copy = prepare(model, device=device)

    def classify(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return copy(torch.from_numpy(images).permute(0, 3, 1, 2).to(device)).cpu().numpy()

    return classify


def explainer(
    architecture: Architecture, weights: Mapping[str, np.ndarray]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function from images (N, H, W, C) and classes (N,) to Grad-CAM maps (N, h, w), in float64.

    The last feature map (N, C, h, w) is summed over its channels, each weighted by the mean
    gradient of the logit of the class; what is negative becomes zero (Selvaraju et al. 2016,
    arXiv:1610.02391, equations 1 and 2).
    """
    device = default_device()
    model = create_model(architecture, dtype="float64").to(device).eval().requires_grad_(False)
    set_weights(model, {name: array.astype("float64") for name, array in weights.items()})
    kept: list[torch.Tensor] = []
    model.avgpool.register_forward_pre_hook(lambda _, given: kept.append(given[0].requires_grad_()))

    def explain(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(images.astype("float64")).permute(0, 3, 1, 2).to(device)
        logits = model(image)
        features = kept.pop()
        chosen = logits[torch.arange(len(classes)), torch.from_numpy(classes)]
        (gradient,) = torch.autograd.grad(chosen.sum(), features)
        importance = gradient.mean(dim=(2, 3), keepdim=True)
        return (importance * features).sum(dim=1).relu().detach().cpu().numpy()

    return explain
