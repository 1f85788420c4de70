"""read_properties: read the phone's system properties. It changes nothing on the phone."""

from collections.abc import Mapping
from typing import Any, Final

from phonefarm_controller.capabilities.fields import Field
from phonefarm_controller.capabilities.phone_fields import PropertyNames
from phonefarm_controller.model.plans import Action, Plan

FIELDS: Final[tuple[Field, ...]] = (
    PropertyNames(
        name="names",
        description=(
            "the names of the properties, such as ro.build.version.release; a name that ends with "
            "a dot stands for all properties whose names begin with it"
        ),
        most=200,
        longest=256,
        required=True,
    ),
)


def plan(inputs: Mapping[str, Any]) -> Plan:
    """Return the plan."""
    return Plan(actions=(Action(kind="read_properties", params={"names": inputs["names"]}),))
