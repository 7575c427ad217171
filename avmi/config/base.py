"""What every configuration class shares: frozen, no unknown keys; knows no torch."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of all configuration classes."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
