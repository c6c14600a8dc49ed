"""The parameters of a V2 request, and what else its objects have in common.

Values are strings, numbers or booleans; what nobody knows is ignored, as the protocol demands.
"""

from collections.abc import Collection, Mapping
from typing import Any

from service.api.elements import json_kind
from service.errors import InvalidRequest, shorten

_INT64 = 2**63


def objects(key: str, value: object) -> list[dict[str, Any]]:
    """A list of objects; InvalidRequest for anything else."""
    if not isinstance(value, list):
        raise InvalidRequest(f"'{key}': expected a list of objects, got {got(value)}")
    for item in value:
        if not isinstance(item, dict):
            raise InvalidRequest(f"'{key}': expected a list of objects, got {json_kind(item)}")
    return value


def item_name(kind: str, item: Mapping[str, Any], known: Collection[str]) -> str:
    """The name of an input or output, one of those that the model has."""
    name = item.get("name")
    if not isinstance(name, str):
        raise InvalidRequest(f"{kind}: expected a string as 'name', got {got(name)}")
    if name not in known:
        raise InvalidRequest(f"{kind}: expected one of {', '.join(known)}; got '{shorten(name)}'")
    return name


def parameters(place: str, item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of the request, an input or an output; empty where there are none."""
    found = item.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidRequest(f"{place}: expected an object as 'parameters', got {json_kind(found)}")
    for key, value in found.items():
        whole = isinstance(value, int)  # a bool is an int
        if not isinstance(value, (str, float)) and not (whole and -_INT64 <= value < _INT64):
            kind = "an integer beyond 64 bits" if whole else json_kind(value)
            raise InvalidRequest(
                f"{place}: expected a string, number or boolean as parameter '{shorten(key)}', "
                f"got {kind}"
            )
    return found


def flag(place: str, given: Mapping[str, Any], key: str, default: bool) -> bool:
    """A boolean parameter."""
    value = given.get(key, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{place}: expected a boolean as '{key}', got {json_kind(value)}")
    return value


def count(place: str, given: Mapping[str, Any], key: str) -> int:
    """A parameter that is an integer of 0 or more; 0 where it is not given."""
    value = given.get(key, 0)
    if type(value) is not int or value < 0:
        raise InvalidRequest(
            f"{place}: expected an integer of 0 or more as '{key}', got {shorten(value)}"
        )
    return value


def got(value: object) -> str:
    """What came, in words."""
    return "nothing" if value is None else json_kind(value)
