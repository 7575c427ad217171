"""Mutual information between views: score matrix → bound in nats."""

from avmi.mi.bounds import Bound, cosine_ceiling_nats, info_nce

__all__ = ["Bound", "cosine_ceiling_nats", "info_nce"]
