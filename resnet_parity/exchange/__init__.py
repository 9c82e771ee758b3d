"""ONNX files: read with care, recognised as a ResNet of the spec, run, compared, exported."""

EXPORT_OPSETS = range(18, 24)
"""Those that an export may have: both exporters know 18, and runtimes that are a year old 23."""
