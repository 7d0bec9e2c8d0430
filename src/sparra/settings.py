"""The base of every stage's settings: unknown keys are refused with the nearest valid name."""

import reprlib
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from sparra.errors import UserError
from sparra.registry import nearest_name

# Aliases make a YAML of a few lines stand for gigabytes: never write a value out whole.
_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = 10
_SHORT.maxlevel = 4
_SHORT.maxstring = _SHORT.maxother = 200


class Settings(BaseModel):
    """Immutable settings of one stage; each room defines its own, ``study.yaml`` is made of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def from_mapping(cls, values: dict[str, Any], where: str) -> Self:
        """Validate `values` (as read from YAML).

        Raises
        ------
        UserError
            One sentence for each problem, joined by new lines; `where` names the file.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [_sentence(cls, detail) for detail in error.errors()]
            raise UserError("\n".join(lines), where=where) from None


def _sentence(model: type[BaseModel], detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        valid = list(_model_at(model, detail["loc"][:-1]).model_fields)
        return f"unknown key '{key}'. {nearest_name(str(detail['loc'][-1]), valid)}"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return f"key '{key}' is missing"
    if detail["type"] == "value_error" and isinstance(detail["input"], Mapping | BaseModel):
        # What is wrong lies in one part of a whole section, which the message names.
        return f"{key}: {message}" if key else message
    return f"key '{key}' is {_SHORT.repr(detail['input'])}: {message}"


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """Follow field names down to the settings class that holds the last key."""
    for part in path:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model
