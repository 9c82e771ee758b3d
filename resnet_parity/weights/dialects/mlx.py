"""mlx-image (Apple MLX), and burn (Rust) in safetensors files."""

from resnet_parity.weights.dialects import canonical
from resnet_parity.weights.naming import Dialect

DIALECTS = (
    Dialect(
        "mlx",
        "mlx-image",
        canonical.STEM
        | {
            "conv": "layer{s}.layers.{b}.conv{j}",
            "norm": "layer{s}.layers.{b}.bn{j}",
            "project": "layer{s}.layers.{b}.downsample.layers.0",
            "project.norm": "layer{s}.layers.{b}.downsample.layers.1",
            "fc": "fc",
        },
        source="https://github.com/riccardomusmeci/mlx-image",
        assumes="stride in the 3x3 convolution, epsilon 1e-5",
        conv_axes="ohwi",
    ),
    Dialect(
        "burn",
        "burn",
        canonical.STEM
        | {
            "conv": "layer{s}.blocks.{b}.conv{j}",
            "norm": "layer{s}.blocks.{b}.bn{j}",
            "project": "layer{s}.blocks.{b}.downsample.conv",
            "project.norm": "layer{s}.blocks.{b}.downsample.bn",
            "fc": "fc",
        },
        source="https://github.com/tracel-ai/models/tree/main/resnet-burn",
        assumes="stride in the 3x3 convolution, epsilon 1e-5",
    ),
)
