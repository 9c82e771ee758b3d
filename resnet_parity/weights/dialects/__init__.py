"""The dialects: how other libraries name the tensors of a ResNet. Data, one module per family."""

from __future__ import annotations

from resnet_parity.weights.dialects import (
    canonical,
    cifar,
    detectron,
    fastai,
    flax,
    gluon,
    hugging_face,
    keras_applications,
    keras_hub,
    mlx,
    mmpretrain,
    paddle,
    resnet_keras,
    sequential,
    timm_v2,
)
from resnet_parity.weights.naming import Dialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for module in (
        canonical,
        timm_v2,
        hugging_face,
        keras_hub,
        keras_applications,
        resnet_keras,
        mmpretrain,
        detectron,
        cifar,
        sequential,
        fastai,
        gluon,
        flax,
        mlx,
        paddle,
    )
    for dialect in module.DIALECTS
}
"""By name. Where two explain a file equally well, the first one is taken."""
