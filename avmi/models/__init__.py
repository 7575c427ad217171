"""Networks from views to embeddings: backbones, heads, one encoder for each kind of view."""
