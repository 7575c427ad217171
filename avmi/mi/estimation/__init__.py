"""Samples of two variables → critics trained on them, and what held-out rows say of their mutual information."""
