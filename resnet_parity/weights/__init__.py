"""Weights as canonical arrays: read, written, translated and adapted, without a framework.

`files` reads and writes safetensors files. `keras_applications` and `timm` translate the names and
layouts of those libraries (dialects) into the canonical ones; `dialect` is what they share. `adapt`
makes weights fit other image channels or another head. The result goes into `set_weights` of either
implementation.
"""
