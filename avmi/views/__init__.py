"""Clips → views: pictures and spectrograms as tensors, and the graph of their pairs."""
