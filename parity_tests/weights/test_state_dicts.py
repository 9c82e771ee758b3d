"""State dicts and models as other programs leave them: one message, and the line in it works."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn.utils import prune

from resnet_spec import (
    ARCHITECTURES,
    Recipe,
    SqueezeRatio,
    WeightsError,
    get_architecture,
    parameters,
    stages,
)
from resnet_spec.state_dict import prefix_problem, prefixes
from resnet_spec.weights import as_code

import resnet_keras
import resnet_torch
from parity_tests.support import SMALL, TINY, random
from resnet_parity.cli import main
from resnet_parity.compare import relative_error
from resnet_parity.errors import ParityError
from resnet_parity.tolerances import limit
from resnet_parity.weights.adapt import adapt_weights
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.files import read_weights
from resnet_parity.weights.formats.numpy_files import write_npz
from resnet_parity.weights.formats.safetensors_files import write_safetensors
from resnet_parity.weights.libraries import from_timm
from resnet_parity.weights.naming import to_dialect
from resnet_torch.optimizer import get_momentum, set_momentum, sgd
from resnet_torch.weights import unwrapped

BOTH_FRAMEWORKS = pytest.mark.parametrize(
    "framework", [resnet_torch, resnet_keras], ids=lambda framework: framework.__name__
)


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return dict(random(TINY.name, "float32").weights)


def tensors(weights: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in weights.items()}


def masked(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    mask = np.arange(10) % 2 == 0
    return weights | {"fc.bias": np.ma.masked_array(weights["fc.bias"], mask=mask)}


def renamed(weights: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": array for name, array in weights.items()}


def cast(weights: dict[str, np.ndarray], dtype: Any) -> dict[str, np.ndarray]:
    return {name: array.astype(dtype) for name, array in weights.items()}


def in_hugging_face_names(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return to_dialect(DIALECTS["hf"], TINY, weights)


def with_head(weights: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {key.replace("fc.", f"{name}."): array for key, array in weights.items()}


def of(**options) -> dict[str, np.ndarray]:
    """Weights for other classes or channels."""
    return resnet_torch.get_weights(resnet_torch.create_model(TINY, **options))


SAME_NUMBERS = {
    "module.": lambda w: renamed(w, "module."),
    "module._orig_mod.": lambda w: renamed(w, "module._orig_mod."),
    "two encoders": lambda w: renamed(w, "encoder_q.") | renamed(cast(w, "float16"), "encoder_k."),
    "model. and a loss": lambda w: renamed(w, "model.") | {"loss.weight": np.ones(3)},
    "counters": lambda w: renamed(w | {"bn1.num_batches_tracked": np.array(7)}, "net."),
    "tensors": tensors,
    "wrapper": lambda w: {"epoch": 3, "state_dict": w, "optimizer": {"state": {0: {"step": 1}}}},
    "two wrappers": lambda w: {"model": {"model_state": w}, "args": {"lr": 0.1}},
    "wrapped, prefixed tensors": lambda w: {"model": renamed(tensors(w), "module.")},  # pyright: ignore[reportArgumentType]
    "float64": lambda w: cast(w, "float64"),
    "big-endian": lambda w: cast(w, ">f4"),
    "one float64": lambda w: w | {"fc.bias": w["fc.bias"].astype("float64")},
    "tensors and a number": lambda w: tensors(w) | {"epoch": 3},  # pyright: ignore[reportOperatorIssue]
    "dropout before the classifier": lambda w: with_head(w, "fc.1"),
    "another name of the classifier": lambda w: with_head(w, "head"),
}
OTHER_NUMBERS = {
    "float16": lambda w: cast(w, "float16"),
    "bfloat16": lambda w: cast(w, ml_dtypes.bfloat16),
    "bfloat16 tensors": lambda w: {name: t.bfloat16() for name, t in tensors(w).items()},
    "masked": masked,
    "other classes": lambda _: of(num_classes=5),
    "grey images": lambda _: of(in_channels=1),
    "grey images and other classes": lambda _: of(in_channels=1, num_classes=7),
    "no head": lambda _: of(num_classes=0),
    "a prefix and another head": lambda w: with_head(renamed(w, "backbone."), "head"),
}
WRITTEN = re.compile(
    r"leave int ('epoch') out|(weights(?:\['[\w.]+'\])? = .*?)(?: \(resnet_parity.*)?$|"
    r"pass (weights\S+)"
)


def follow(message: str, weights: Any) -> Any:
    """The weights after the line that the message says to write."""
    (line,) = [match for match in map(WRITTEN.search, message.splitlines()) if match]
    space = {"weights": weights, "numpy": np, "architecture": TINY}
    space |= {"adapt_weights": adapt_weights, "get_architecture": get_architecture}
    if line[1]:
        return {name: value for name, value in weights.items() if name != eval(line[1])}
    exec(line[2] or f"weights = {line[3]}", space)
    return space["weights"]


def set_by_the_messages(framework: ModuleType, model: Any, weights: Any) -> int:
    """Set the weights, doing what each message says; return the number of messages."""
    for count in range(6):
        try:
            framework.set_weights(model, weights)
            return count
        except WeightsError as error:
            assert len(error.problems) <= 4
            weights = follow(str(error), weights)
    raise AssertionError("six messages were not enough")


@BOTH_FRAMEWORKS
@pytest.mark.parametrize("kind", [*SAME_NUMBERS, *OTHER_NUMBERS])
def test_the_line_in_the_message_makes_them_fit(framework: ModuleType, kind, weights):
    model = framework.create_model(TINY)
    given = (SAME_NUMBERS | OTHER_NUMBERS)[kind](weights)
    assert 1 <= set_by_the_messages(framework, model, given) <= 3
    stage = "layer1.0.conv1.weight"
    found = framework.get_weights(model)
    if kind in SAME_NUMBERS:
        for name, value in weights.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    elif "float16" in kind:
        error = relative_error(weights[stage], found[stage])
        assert 0 < error <= limit("half", "least noise floor in bfloat16")


@BOTH_FRAMEWORKS
@pytest.mark.parametrize("prefix", ["module.", "backbone.", "_orig_mod.", "model.", "encoder_q."])
def test_a_prefix_is_one_problem_that_names_it(framework: ModuleType, prefix, weights):
    with pytest.raises(WeightsError) as caught:
        framework.set_weights(framework.create_model(TINY), renamed(weights, prefix))
    (problem,) = caught.value.problems
    assert problem.startswith(f"all {len(weights)} names begin with {prefix!r}; remove it: ")


def test_a_dtype_is_one_problem_that_counts_the_tensors(weights):
    model = resnet_torch.create_model(TINY)
    for dtype in ("float16", ">f4"):
        with pytest.raises(WeightsError) as caught:
            resnet_torch.set_weights(model, cast(weights, dtype))
        (problem,) = caught.value.problems
        assert problem.startswith(f"{len(weights)} tensors are {dtype}, the model is float32; ")
    with pytest.raises(WeightsError, match="must be dequantised first"):
        resnet_torch.set_weights(model, cast(weights, "int8"))


def test_a_mask_is_refused_wherever_arrays_are_taken(weights):
    given = masked(weights)
    for take in (
        lambda: resnet_torch.set_weights(resnet_torch.create_model(TINY), given),
        lambda: adapt_weights(given, TINY),
        lambda: from_timm(given, TINY),
    ):
        with pytest.raises(WeightsError, match=r"1 of \d+ are masked, the first is fc.bias"):
            take()


@BOTH_FRAMEWORKS
@pytest.mark.parametrize("given", [[np.zeros(3)], nn.Linear(2, 2), "weights.pt"])
def test_something_else_than_weights_names_what_gives_them(framework: ModuleType, given):
    with pytest.raises(WeightsError, match=r"this is a \w+; pass get_weights\(model\)"):
        framework.set_weights(framework.create_model(TINY), given)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_row_has_a_prefix_and_each_prefix_is_found(name):
    names = [p.name for p in parameters(ARCHITECTURES[name])]
    assert prefixes(names, names) == []
    assert prefixes(names[: len(names) // 2], names) == []
    for prefix in ("module.", "0.", "a.layer1.", "layer1.", "module.model.backbone."):
        assert prefixes([prefix + each for each in names], names) == [prefix]
    assert prefixes([f"module.{each}" for each in names[:5]], names) == []


def test_names_that_are_no_text_or_very_long_have_no_prefix():
    names = [p.name for p in parameters(TINY)]
    assert prefix_problem([3, None, "." * 10**6, "a." * 10**5 + names[0]], names, "weights") is None


# Live models


class Classifier(nn.Module):
    """A model of a user, with a ResNet in it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = resnet_torch.create_model(TINY, num_classes=0)
        self.head = nn.Linear(32, 3)


@pytest.fixture
def group():
    """A process group of one process, as DistributedDataParallel needs it."""
    store = torch.distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_wrapped_models_are_unwrapped(weights, group):
    """Data-parallel, compiled and averaged ones, also one in another."""
    for wrap in (
        nn.DataParallel,
        torch.compile,
        torch.optim.swa_utils.AveragedModel,
        nn.parallel.DistributedDataParallel,
        lambda model: nn.DataParallel(torch.compile(model)),  # pyright: ignore[reportArgumentType]
    ):
        model: Any = resnet_torch.create_model(TINY)
        wrapped: Any = wrap(model)
        resnet_torch.set_weights(wrapped, weights)
        for name, value in resnet_torch.get_weights(wrapped).items():
            np.testing.assert_array_equal(value, weights[name])
        inner = model if wrap is not torch.optim.swa_utils.AveragedModel else wrapped.module
        assert torch.equal(inner.fc.bias, torch.from_numpy(weights["fc.bias"]))


class Normalize(nn.Module):
    """A user's module, whose only child has the name that PyTorch's wrappers give to theirs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image):
        return self.module(image / 255)


@pytest.mark.parametrize("inner", [nn.Identity(), resnet_torch.create_model(TINY)])
def test_a_module_of_a_user_is_no_wrapper(inner):
    model = Normalize(inner)
    assert unwrapped(nn.DataParallel(model)) is model
    with pytest.raises(WeightsError, match="the model is not a 'tiny'"):
        resnet_torch.get_weights(model, TINY)


@pytest.mark.parametrize(
    "change", [nn.DataParallel, lambda model: with_dropout(model), lambda model: model]
)
def test_the_momentum_of_a_changed_model_has_canonical_names(change):
    model = change(resnet_torch.create_model(TINY))
    optimizer = sgd(model, Recipe(learning_rate=0.1))
    buffers = {name: array + 1 for name, array in get_momentum(model, optimizer).items()}
    assert set(buffers) == {p.name for p in parameters(TINY) if p.trainable}
    set_momentum(model, optimizer, buffers)
    assert (get_momentum(model, optimizer)["fc.bias"] == 1).all()
    (kernel,) = [each for name, each in model.named_parameters() if "fc" in name and each.ndim > 1]
    assert (optimizer.state[kernel]["momentum_buffer"] == 1).all()


def with_dropout(model: Any) -> nn.Module:
    """With a module whose name holds that of the inner classifier too."""
    model.fc = nn.Sequential(nn.Dropout(), model.fc)
    return model


def test_only_the_classifier_is_renamed():
    model: Any = with_dropout(resnet_torch.create_model(TINY))
    model.aux_fc = nn.Sequential(nn.ReLU(), nn.Linear(32, 3))
    with pytest.raises(WeightsError) as caught:
        resnet_torch.get_weights(model)
    assert caught.value.problems == [
        f"aux_fc.1.{leaf} is not a tensor of this architecture" for leaf in ("weight", "bias")
    ]
    assert "Identity" not in str(caught.value)


def replaced(**modules: nn.Module) -> nn.Module:
    model = resnet_torch.create_model(TINY)
    for name, module in modules.items():
        setattr(model, name, module)
    return model


def test_classes_and_channels_are_read_off_a_model():
    """After the usual ways to change them, and the weights fit a Keras model with these sizes."""
    linear = nn.Linear(32, 5)
    grey = nn.Conv2d(1, 16, 7, 2, 3, bias=False)
    cases: list[tuple[nn.Module, dict[str, Any]]] = [
        (replaced(fc=linear), {"num_classes": 5}),
        (replaced(fc=nn.Identity()), {"num_classes": 0}),
        (replaced(fc=nn.Sequential(nn.Dropout(0.2), linear)), {"num_classes": 5}),
        (replaced(fc=nn.Sequential(linear, nn.Identity())), {"num_classes": 5}),
        (replaced(conv1=grey, fc=linear), {"num_classes": 5, "in_channels": 1}),
    ]
    for model, sizes in cases:
        arch = get_architecture(TINY, **sizes)
        found = resnet_torch.get_weights(model)
        assert {name: value.shape for name, value in found.items()} == {
            p.name: p.shape for p in parameters(arch)
        }
        if "fc.weight" in found:
            np.testing.assert_array_equal(found["fc.weight"], linear.weight.detach().numpy())
        resnet_torch.set_weights(model, {name: value + 1 for name, value in found.items()})
        again = resnet_torch.get_weights(model)
        np.testing.assert_array_equal(again["conv1.weight"], found["conv1.weight"] + 1)
        if "in_channels" in sizes:
            resnet_keras.set_weights(resnet_keras.create_model(arch), again)


def test_an_architecture_is_exact_and_the_message_has_the_one_that_fits():
    model = resnet_torch.resnet18(num_classes=5, in_channels=1)
    whole = get_architecture("resnet18")
    with pytest.raises(WeightsError) as caught:
        resnet_torch.get_weights(model, whole)
    written = str(caught.value).rpartition("pass architecture=")[2]
    assert written == "get_architecture('resnet18', num_classes=5, in_channels=1)"
    resnet_torch.get_weights(model, eval(written))


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        (get_architecture("resnet18", output_stride=8), {"num_classes": 5}),
        (get_architecture("resnet18", stages=stages(1, 1, 1, 1)), {"num_classes": 5}),
        (get_architecture("resnet18", se=SqueezeRatio()), {"in_channels": 1}),
        (get_architecture("resnet18", features_only=True, out_indices=(4,)), {"in_channels": 1}),
        (TINY, {"num_classes": 5, "in_channels": 1}),
    ],
)
def test_the_written_architecture_has_every_field(arch, options):
    wanted = get_architecture(arch, **options)
    space = {"architecture": arch, "get_architecture": get_architecture}
    assert eval(as_code(wanted), space) == wanted


def test_the_hint_on_the_head_stands_only_where_the_head_alone_is_wrong():
    head = nn.Sequential(nn.Linear(32, 9), nn.ReLU(), nn.Linear(9, 5))
    for other in ({"bn1": nn.Identity()}, {"conv1": nn.Conv2d(3, 16, 3, bias=False)}):
        with pytest.raises(WeightsError) as caught:
            resnet_torch.get_weights(replaced(fc=head, **other))
        assert "Identity" not in str(caught.value)
    with pytest.raises(WeightsError) as caught:
        resnet_torch.get_weights(replaced(bn1=nn.Identity()))
    assert "Identity" not in str(caught.value)


def test_a_head_that_is_no_linear_layer_is_refused_with_the_line_that_removes_it():
    head = nn.Sequential(nn.Linear(32, 9), nn.ReLU(), nn.Linear(9, 5))
    model: Any = replaced(fc=head)
    with pytest.raises(WeightsError, match=r"fc.0.weight is not a tensor") as caught:
        resnet_torch.get_weights(model)
    exec(str(caught.value).rpartition(": ")[2], {"model": model, "torch": torch})
    assert "fc.weight" not in resnet_torch.get_weights(model)
    for wrong in (nn.Sequential(nn.Linear(32, 5), nn.ReLU()), nn.Linear(32, 5, bias=False)):
        with pytest.raises(WeightsError, match="fc"):
            resnet_torch.get_weights(replaced(fc=wrong))


def test_a_model_inside_another_is_named():
    model = Classifier()
    with pytest.raises(WeightsError) as caught:
        resnet_torch.get_weights(model, TINY)
    (problem,) = caught.value.problems
    assert problem == "its tensors begin with 'backbone.'; pass model.get_submodule('backbone')"
    inner = eval(problem.rpartition("pass ")[2], {"model": model})
    assert "fc.weight" not in resnet_torch.get_weights(inner)


# Files, and the state dicts of other libraries


def test_from_timm_reads_the_sizes_off_where_a_name_is_given():
    state = resnet_torch.resnet18(num_classes=7, in_channels=1).state_dict()
    weights = from_timm(state, "resnet18")
    assert (weights["fc.bias"].shape, weights["conv1.weight"].shape[1]) == ((7,), 1)
    with pytest.raises(WeightsError) as caught:
        from_timm(state, get_architecture("resnet18"))
    written = str(caught.value).rpartition("pass ")[2]
    from_timm(state, eval(written))


def test_from_timm_names_a_prefix_and_a_wrapper(weights):
    for state, message in (
        (renamed(weights, "module."), "begin with 'module.'; remove it: state = "),
        ({"epoch": 3, "ema": weights}, r"pass state\['ema'\]"),
        ({"net": replaced()}, r"pass state\['net'\]\.state_dict\(\)"),
    ):
        with pytest.raises(WeightsError, match=message):
            from_timm(state, TINY)


@pytest.mark.parametrize(
    ("change", "arch", "message"),
    [
        (lambda w: renamed(w, "module."), TINY, "all 32 names begin with 'module.'"),
        (in_hugging_face_names, TINY, "0 of 32 names are those of this architecture"),
        (lambda w: cast(w, "float16"), TINY, "32 of 32 tensors are F16, the first is .*bias"),
        (dict, replace(TINY, num_classes=5), "for a command write --num-classes 10$"),
        (dict, replace(TINY, in_channels=1), "for a command write --in-channels 3$"),
        (dict, SMALL, "layer1.0.conv3.weight is missing"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_fix(
    change, arch, message, weights, tmp_path: Path
):
    path = tmp_path / "weights.safetensors"
    save_file(change(weights), path)
    with pytest.raises(ParityError, match=message):
        read_weights(path, arch)


@pytest.mark.parametrize(
    ("change", "file"),
    [
        (lambda w: renamed(w, "module."), "my weights.safetensors"),
        (lambda w: cast(w, "float64"), "weights.safetensors"),
        (in_hugging_face_names, "weights.safetensors"),
        (dict, "weights.npz"),
    ],
    ids=["prefix", "float64", "another library", "another format"],
)
def test_the_command_in_the_message_writes_a_file_that_fits(
    change, file, weights, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (write_npz if file.endswith(".npz") else write_safetensors)(Path(file), change(weights))
    with pytest.raises(ParityError) as caught:
        read_weights(file, TINY)
    command = shlex.split(str(caught.value).rpartition("resnet-parity ")[2])
    assert main([*command, "--no-prove"]) == 0
    out = file.replace(".npz", ".safetensors") if file.endswith(".npz") else "new.safetensors"
    found = read_weights(out, TINY)
    np.testing.assert_array_equal(found["fc.bias"], weights["fc.bias"])


COMPUTED = {
    "pruned": (
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        "torch.nn.utils.prune.remove(layer, 'weight')",
    ),
    "parametrized": (
        nn.utils.parametrizations.weight_norm,
        "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')",
    ),
}


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("layer", ["layer1.0.conv1", "fc"])
def test_weights_that_are_computed_are_named_with_the_line_that_undoes_it(kind, layer, weights):
    """The line works, in a model and before its state dict is taken."""
    change, line = COMPUTED[kind]
    model = resnet_torch.create_model(TINY)
    change(model.get_submodule(layer))
    with pytest.raises(WeightsError, match=re.escape(line)):
        resnet_torch.get_weights(model)
    state = {name: value.numpy(force=True) for name, value in model.state_dict().items()}
    with pytest.raises(WeightsError, match=re.escape(line)):
        resnet_torch.set_weights(resnet_torch.create_model(TINY), state)
    exec(line, {"torch": torch, "layer": model.get_submodule(layer)})
    resnet_torch.set_weights(model, weights)
    assert resnet_torch.get_weights(model).keys() == weights.keys()


def test_a_quantised_pytorch_model_is_refused():
    class Quantised(nn.Linear):
        def get_extra_state(self) -> torch.dtype:
            return torch.qint8

    model = resnet_torch.create_model(TINY)
    model.fc = Quantised(16, 10)
    with pytest.raises(WeightsError, match=r"(?s)is quantised .*fc._extra_state is no tensor"):
        resnet_torch.get_weights(model)


def test_a_model_without_memory_takes_weights_after_the_line_in_the_message(weights):
    with torch.device("meta"):
        model = resnet_torch.create_model(TINY)
    with pytest.raises(WeightsError, match=r"(?s)meta device.*model\.to_empty\(device='cpu'\)"):
        resnet_torch.set_weights(model, weights)
    model.to_empty(device="cpu")
    resnet_torch.set_weights(model, weights)
    np.testing.assert_array_equal(resnet_torch.get_weights(model)["fc.bias"], weights["fc.bias"])
