"""The adapter of PyTorch; the files and definitions mirror those of Keras."""
