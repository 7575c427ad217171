"""Shape checks for data_prep too."""

from jaxtyping import install_import_hook

install_import_hook("data_prep", "beartype.beartype")
