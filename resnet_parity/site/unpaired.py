"""The definitions that only one implementation has, by module and name, each with the reason.

A test fails if an entry is missing or out of date.
"""

from __future__ import annotations

_TF32 = "the checker turns TF32 off for Keras by an environment variable"
_DEVICE = "Keras chooses the device itself"
_LOOP = "Keras' fit has a loop of its own"
_LOADER = "each framework has a class of its own that asks for batches"
_VARIABLES = "Keras' optimiser has variables of its own, in Keras' layout"
_MODE = "Keras compiles a model for each mode"

UNPAIRED = {
    ("layers", "LAYOUT"): "PyTorch layers have one layout",
    ("model", "_dtype"): "Keras reads the names of its dtype policies itself",
    ("model", "_ImageShape"): "a Keras model has no code of its own that could check its images",
    ("weights", "architecture_of"): "a PyTorch model keeps its architecture in copies and pickles",
    ("weights", "_network"): "a Keras model holds a ResNet among other layers",
    ("weights", "_assigned"): "a PyTorch model has one state dict",
    ("weights", "_architecture"): "a Keras model's architecture is read from its layers",
    ("weights", "unwrapped"): "PyTorch wraps a model to compile it or to run it in parallel",
    ("weights", "_adapted"): "LoRA is a part of Keras' layers",
    ("weights", "_lora_update"): "LoRA is a part of Keras' layers",
    ("optimizer", "CoupledSGD"): "PyTorch's own optimiser follows the rule, Keras' does not",
    ("optimizer", "averaged"): "Keras' optimiser averages weights itself",
    ("optimizer", "_averages"): "Keras' optimiser averages weights itself",
    ("optimizer", "Variables"): _VARIABLES,
    ("optimizer", "_by_parameter"): _VARIABLES,
    ("optimizer", "_arrays"): _VARIABLES,
    ("training", "tensorflow"): "Keras runs on several backends",
    ("training", "BatchNormalization"): "PyTorch's own layer follows the rule, Keras' does not",
    ("training", "_mean_over_replicas"): "PyTorch has a process for each device",
    ("devices", "shared"): "an uneven last batch is a process' own in PyTorch",
    ("devices", "_Split"): "an uneven last batch is a process' own in PyTorch",
    ("devices", "_DataParallel"): "an uneven last batch is a process' own in PyTorch",
    ("devices", "_tensorflow_scope"): "Keras runs on several backends",
    ("devices", "_jax_scope"): "Keras runs on several backends",
    ("devices", "_checked"): "torchrun finds the devices of PyTorch",
    ("training", "_fused"): "this layer's operation on TensorFlow",
    ("training", "_unfused"): "this layer's operation on other backends",
    ("fit", "_BatchDataset"): _LOADER,
    ("fit", "_BatchSequence"): _LOADER,
    ("fit", "_loader"): _LOADER,
    ("fit", "_forward"): _LOOP,
    ("fit", "_Averages"): "a PyTorch model of its own holds the averages",
    ("fit", "_set_training"): _LOOP,
    ("fit", "_evaluated"): _LOOP,
    ("fit", "_Means"): "Keras' fit takes its means from metrics",
    ("fit", "_Steps"): f"{_LOOP}, which calls back",
    ("modes", "TENSORFLOW_MODES"): "torch's depend on the machine",
    ("modes", "MODES"): "PyTorch's modes depend on the machine",
    ("modes", "CPU"): _MODE,
    ("modes", "GPU"): _DEVICE,
    ("modes", "_TF32_LIMIT"): _TF32,
    ("modes", "_compiler_unsupported_reason"): "Keras' compilers come with its backends",
    ("modes", "_tf32_rounds"): _TF32,
    ("modes", "float32_products"): _TF32,
    ("modes", "threads"): "TensorFlow sums in one order on any number of threads",
    ("modes", "device"): _DEVICE,
    ("modes", "placed"): "Keras has one layout and places arrays itself",
    ("modes", "callable_in"): "PyTorch runs a module directly or compiled",
    ("modes", "predict"): _MODE,
    ("modes", "compile_options"): "Keras takes the mode as an option of compile",
    ("gradients", "Differentiated"): "Keras' trainer takes gradients only of a model's own tensors",
    ("gradients", "Recorder"): "on every backend, Keras shows gradients only to its optimiser",
    ("gradients", "WeightedSum"): "Keras' trainer starts from a loss, PyTorch from cotangents",
    ("gradients", "recorded"): "Keras' trainer is run for it",
    ("gradients", "_channels_last"): "PyTorch's layout is the canonical one",
    ("export", "open_axes"): "PyTorch exports an example and takes a list of its open axes",
    ("export", "Layout"): "PyTorch transposes images in a module around the model",
    ("export", "channels_first"): "Keras transposes images in a model around the model",
    ("export", "evaluating"): "only a PyTorch module is in training mode or not",
    ("export", "without_compiled_layers"): "only Keras compiles grouped convolutions with XLA",
    ("export", "plain_layer"): "only Keras replaces compiled layers before an export",
    ("export", "PlainConv2D"): "only Keras replaces compiled layers before an export",
}
