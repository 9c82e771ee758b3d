"""Read, identify, run, compare, import and export ONNX files."""
