"""install_apk: fetch an APK and install it, or update the app that is there."""

from collections.abc import Mapping
from typing import Any, Final

from phonefarm_controller.capabilities.fields import Field, Url
from phonefarm_controller.capabilities.phone_fields import PackageName, Sha256
from phonefarm_controller.model.plans import Action, Plan

APK: Final = "app"
"""What the asset is called in the run."""
FETCH_SECONDS: Final = 900.0
INSTALL_SECONDS: Final = 600.0
"""The file is pushed first, and phones verify and compile what they install."""

FIELDS: Final[tuple[Field, ...]] = (
    Url(
        name="apk_url",
        description="the URL from which the phone host fetches the APK",
        most=4000,
        required=True,
    ),
    Sha256(
        name="sha256",
        description="the SHA-256 of the APK in hexadecimal; a file with another SHA-256 is refused",
        most=64,
        required=True,
    ),
    PackageName(
        name="package",
        description="the package of the app, such as com.example.app",
        most=255,
        required=True,
    ),
)


def plan(inputs: Mapping[str, Any]) -> Plan:
    """Return the plan."""
    actions = (
        Action(
            kind="fetch_asset",
            params={"asset": APK, "url": inputs["apk_url"], "type": "apk"},
            limit_seconds=FETCH_SECONDS,
        ),
        Action(
            kind="install_apk",
            params={
                "asset": APK,
                "sha256": inputs["sha256"].lower(),
                "package": inputs["package"],
            },
            limit_seconds=INSTALL_SECONDS,
        ),
    )
    return Plan(actions=actions)
