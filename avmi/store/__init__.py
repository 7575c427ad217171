"""Packed shards: videos as JPEG pictures and 16-bit sound in plain tars that can be memory-mapped."""
