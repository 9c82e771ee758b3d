"""What a ResNet is, as data: one table, unrolled into layers, tensors and taps. Stdlib only."""

from resnet_spec.architecture import Architecture, ArchitectureError
from resnet_spec.layers import (
    AveragePool,
    ChannelPad,
    Conv,
    Identity,
    Linear,
    MaxPool,
    Norm,
    ShortcutLayer,
    SqueezeExcitation,
)
from resnet_spec.parameters import (
    Parameter,
    keras_layer_name,
    layer_parameters,
    parameter_count,
    parameters,
)
from resnet_spec.parts import (
    DEEP_STEM,
    SMALL_STEM,
    Pool,
    SqueezeExcite,
    Stage,
    Stem,
    stages,
)
from resnet_spec.plan import Block, Feature, Plan, StagePlan, StemPlan, make_plan
from resnet_spec.table import ARCHITECTURES, GROUPS, get_architecture
from resnet_spec.taps import Tap, mac_count, outputs, taps
from resnet_spec.training import SCHEDULES, Recipe, RecipeError, momentum_name
from resnet_spec.weights import (
    WeightsError,
    architecture_of,
    check_arrays,
    check_model,
    check_weights,
    shape_problems,
    step_counters,
)

__all__ = [
    "ARCHITECTURES",
    "DEEP_STEM",
    "GROUPS",
    "SCHEDULES",
    "SMALL_STEM",
    "Architecture",
    "ArchitectureError",
    "AveragePool",
    "Block",
    "ChannelPad",
    "Conv",
    "Feature",
    "Identity",
    "Linear",
    "MaxPool",
    "Norm",
    "Parameter",
    "Plan",
    "Pool",
    "Recipe",
    "RecipeError",
    "ShortcutLayer",
    "SqueezeExcitation",
    "SqueezeExcite",
    "Stage",
    "StagePlan",
    "Stem",
    "StemPlan",
    "Tap",
    "WeightsError",
    "architecture_of",
    "check_arrays",
    "check_model",
    "check_weights",
    "get_architecture",
    "keras_layer_name",
    "layer_parameters",
    "mac_count",
    "make_plan",
    "momentum_name",
    "outputs",
    "parameter_count",
    "parameters",
    "shape_problems",
    "stages",
    "step_counters",
    "taps",
]
