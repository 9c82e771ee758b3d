"""Weights as canonical arrays: read, written, translated and adapted, without a framework.

`files` reads and writes safetensors files. `libraries` translates the weights of models in memory,
of timm and Keras Applications. `adapt` makes weights fit other image channels or another head. The
result goes into `set_weights` of either implementation.
"""
