"""The classes and functions of Keras that a `.keras` file may name; all others are refused.

None of them runs code that comes from the file, or opens a file that it names. `LARGEST` limits the
settings that make them take memory or time beyond that of their weights and outputs. A test
compares the tables with the Keras that is installed.
"""

from __future__ import annotations

from collections.abc import Iterable

MODELS = {
    *(("keras", "Sequential"), ("keras.models", "Sequential")),
    ("keras.src.models.functional", "Functional"),
}
"""The classes of a whole model."""

_LAYERS = """
Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention AugMix AutoContrast
Average AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D AveragePooling1D AveragePooling2D
AveragePooling3D BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate
ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D CutMix Dense
DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization
Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
GroupQueryAttention HashedCrossing Hashing Identity InputLayer LSTM LSTMCell LayerNormalization
LeakyReLU Masking MaxNumBoundingBoxes MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram
Minimum MixUp MultiHeadAttention Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN
RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue
RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax
Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization
StackedRNNCells Subtract TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D
Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""

_CODE = "would run code from the file"
_OTHER_FILES = "would open another file that it names"

UNSAFE_LAYERS = {
    **dict.fromkeys(("Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"), _CODE),
    **dict.fromkeys(("StringLookup", "IntegerLookup", "TextVectorization"), _OTHER_FILES),
    "TFSMLayer": "would run a SavedModel that it names",
}
"""Keras' own layers that are refused, with the reason."""

_PARTS = {
    "keras.initializers": "Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity "
    "LecunNormal LecunUniform Ones Orthogonal RandomNormal RandomUniform STFT TruncatedNormal "
    "VarianceScaling Zeros",
    "keras.regularizers": "L1 L1L2 L2 OrthogonalRegularizer",
    "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
    "keras": "DTypePolicy",
    "keras.dtype_policies": "DTypePolicy DTypePolicyMap QuantizedDTypePolicy "
    "QuantizedFloat8DTypePolicy Int4DTypePolicy",
    "keras.quantizers": "AbsMaxQuantizer Float8QuantizationConfig Int4QuantizationConfig "
    "Int8QuantizationConfig",
    "keras.random": "SeedGenerator",
}
"""The classes of the settings of layers, by module."""

_OPERATIONS = {
    "core": "Cast Slice StopGradient",
    "image": "CropImages PadImages Resize",
    "math": "Rsqrt",
    "nn": "AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm Celu Conv ConvTranspose "
    "DepthToSpace DepthwiseConv Elu Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LayerNorm "
    "LeakyRelu LogSigmoid LogSoftmax MaxPool Moments Normalize RMSNorm Relu Relu6 Selu "
    "SeparableConv Sigmoid Silu SoftShrink Softmax Softplus Softsign SpaceToDepth Squareplus "
    "TanhShrink Threshold",
    "numpy": "Absolute Add Amax Amin Average BroadcastTo Clip Concatenate Copy Divide Dot Einsum "
    "Equal Exp ExpandDims Flip FullLike GetItem Greater GreaterEqual Less LessEqual "
    "Log Matmul Max Maximum Mean Min Minimum Mod Moveaxis Multiply Negative NotEqual OnesLike Pad "
    "Power Prod Ravel Reciprocal Repeat Reshape Roll Rot90 Sign Split Sqrt Square Squeeze Stack "
    "Std Subtract Sum Swapaxes Take Tanh Tensordot Tile Transpose TrueDivide Var Where ZerosLike",
}
"""The operations that `keras.ops` and operators add to a graph, by module of `keras.src.ops`."""


def _pairs(modules: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(module, name) for module, names in modules for name in names.split()}


ALLOWED = {
    *MODELS,
    *_pairs([("keras.layers", _LAYERS)]),
    *_pairs(_PARTS.items()),
    *_pairs((f"keras.src.ops.{module}", names) for module, names in _OPERATIONS.items()),
}
"""The module and the class of every object that a file may hold."""

_ACTIVATIONS = """
celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear
log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign
sparse_plus sparse_sigmoid sparsemax squareplus tanh tanh_shrink threshold
"""

FUNCTIONS = _pairs(
    (module, _ACTIVATIONS) for module in ("builtins", "keras.activations", "keras.ops")
)
"""The module and the name of every function; initializers and the like are classes."""

VALUES = {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
"""The plain values that a config holds like objects, without a module."""

NUMBERS = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bfloat16", "float16", "float32", "float64"),
)
"""The types of arrays in a config; any other claims a size per value."""

LARGEST = {
    "unroll": 0,  # copies the graph for each step
    "indices_or_sections": 2**10,  # of Split: the number of its outputs
    "dilation_rate": 2**10,  # pads the input by as many pixels
    "kernel_size": 2**12,  # of RandomGaussianBlur, which makes its kernel without a weight
    **dict.fromkeys(("fft_length", "num_mel_bins"), 2**13),  # of a matrix that is no weight
    **dict.fromkeys(("num_ops", "num_chains", "chain_depth", "power_iterations"), 2**10),  # loops
}
"""The largest value of a setting, in any layer or operation."""
