"""YAML and `key=value` → typed, frozen settings, or every mistake with its file and line; no torch."""
