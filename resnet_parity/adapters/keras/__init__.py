"""The adapter of Keras; the files and definitions mirror those of PyTorch."""
