"""The section `model`: which architecture, with which options."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class ModelConfig(BaseModel):
    """The architecture: `name` and the fields of its own config (`python -m keras_actrec models NAME` lists them)."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    name: str = "convnet_transformer"
    """Name in the registry."""

    @model_validator(mode="after")
    def _no_field_of_the_data(self) -> ModelConfig:
        of_the_data = {name: f"data.{name}" for name in ("frames", "size", "modalities", "tempos")}
        for name, origin in {"num_classes": "the data set", **of_the_data}.items():
            if name in self.options:
                raise ValueError(f"'{name}' is given by {origin}; remove it from the section `model`")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The fields beside the name."""
        return dict(self.model_extra or {})
