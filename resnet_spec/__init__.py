"""What a ResNet is, as data: one table, unrolled into layers, tensors and taps. Stdlib only."""

from resnet_spec.architecture import (
    Architecture,
    ArchitectureError,
    Pool,
    Stage,
    Stem,
    stages,
)
from resnet_spec.parameters import Parameter, keras_layer_name, parameter_count, parameters
from resnet_spec.plan import Block, Conv, Linear, MaxPool, Norm, Plan, StagePlan, make_plan
from resnet_spec.table import ARCHITECTURES, get_architecture
from resnet_spec.taps import Tap, mac_count, taps
from resnet_spec.weights import WeightsError, architecture_of, check_model, check_weights

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "ArchitectureError",
    "Block",
    "Conv",
    "Linear",
    "MaxPool",
    "Norm",
    "Parameter",
    "Plan",
    "Pool",
    "Stage",
    "StagePlan",
    "Stem",
    "Tap",
    "WeightsError",
    "architecture_of",
    "check_model",
    "check_weights",
    "get_architecture",
    "keras_layer_name",
    "mac_count",
    "make_plan",
    "parameter_count",
    "parameters",
    "stages",
    "taps",
]
