"""ONNX files: read with care, recognised as a ResNet of the spec, run, compared, exported."""
