"""What the models of the wire have in common."""

from pydantic import BaseModel, ConfigDict


class WireModel(BaseModel):
    """An object of the wire, for the documentation: built when that is first asked for."""

    model_config = ConfigDict(defer_build=True)
