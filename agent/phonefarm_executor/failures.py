"""The failures of a run, in the farm's words, copied because nothing of ours is imported."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Code(StrEnum):
    """Why an action or a run failed; a subset of the farm's failure codes."""

    SELECTOR_NOT_FOUND = "selector_not_found"
    SCREEN_NOT_REACHED = "screen_not_reached"
    TEXT_NOT_TYPEABLE = "text_not_typeable"
    ACTION_TIMEOUT = "action_timeout"
    RUN_TIMEOUT = "run_timeout"
    PLAN_INVALID = "plan_invalid"
    APP_NOT_INSTALLED = "app_not_installed"
    APP_UPDATE_REQUIRED = "app_update_required"
    NO_DEFAULT_APP = "no_default_app"
    INSTALL_REFUSED = "install_refused"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ASSET_MISSING = "asset_missing"
    ASSET_TOO_LARGE = "asset_too_large"
    ASSET_DIFFERS = "asset_differs"
    ASSET_TYPE_NOT_ALLOWED = "asset_type_not_allowed"
    ASSET_URL_NOT_ALLOWED = "asset_url_not_allowed"
    POST_NOT_CONFIRMED = "post_not_confirmed"
    ACCOUNT_LOGGED_OUT = "account_logged_out"
    ACCOUNT_CHALLENGED = "account_challenged"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_MISMATCH = "account_mismatch"
    PHONE_LOST = "phone_lost"
    SCREEN_UNREADABLE = "screen_unreadable"
    ADB_FAILED = "adb_failed"
    UI_SERVER_FAILED = "ui_server_failed"
    UI_AUTOMATION_TAKEN = "ui_automation_taken"
    DISPLAY_DARK = "display_dark"
    SCREEN_LOCKED = "screen_locked"
    ASSET_UNREACHABLE = "asset_unreachable"
    HOST_STORAGE_FULL = "host_storage_full"
    RUN_ABANDONED = "run_abandoned"
    RUN_CRASHED = "run_crashed"


@dataclass(frozen=True, kw_only=True)
class Nature:
    """What caused a failure, and whether the same plan would fail again in the same way."""

    owner: str
    final: bool = False


NATURES = MappingProxyType(
    {
        Code.SELECTOR_NOT_FOUND: Nature(owner="work", final=True),
        Code.SCREEN_NOT_REACHED: Nature(owner="work"),
        Code.TEXT_NOT_TYPEABLE: Nature(owner="work", final=True),
        Code.SCREEN_UNREADABLE: Nature(owner="work"),
        Code.ACTION_TIMEOUT: Nature(owner="work"),
        Code.RUN_TIMEOUT: Nature(owner="work"),
        Code.PLAN_INVALID: Nature(owner="work", final=True),
        Code.APP_NOT_INSTALLED: Nature(owner="work"),
        Code.APP_UPDATE_REQUIRED: Nature(owner="work"),
        Code.NO_DEFAULT_APP: Nature(owner="work"),
        Code.INSTALL_REFUSED: Nature(owner="work"),
        Code.OUTCOME_UNKNOWN: Nature(owner="work", final=True),
        Code.ASSET_MISSING: Nature(owner="work", final=True),
        Code.ASSET_TOO_LARGE: Nature(owner="work", final=True),
        Code.ASSET_DIFFERS: Nature(owner="work", final=True),
        Code.ASSET_TYPE_NOT_ALLOWED: Nature(owner="work", final=True),
        Code.ASSET_URL_NOT_ALLOWED: Nature(owner="work", final=True),
        Code.POST_NOT_CONFIRMED: Nature(owner="work", final=True),
        Code.ACCOUNT_LOGGED_OUT: Nature(owner="account", final=True),
        Code.ACCOUNT_CHALLENGED: Nature(owner="account", final=True),
        Code.ACCOUNT_SUSPENDED: Nature(owner="account", final=True),
        Code.ACCOUNT_MISMATCH: Nature(owner="account", final=True),
        Code.PHONE_LOST: Nature(owner="infra"),
        Code.ADB_FAILED: Nature(owner="infra"),
        Code.UI_SERVER_FAILED: Nature(owner="infra"),
        Code.UI_AUTOMATION_TAKEN: Nature(owner="infra"),
        Code.DISPLAY_DARK: Nature(owner="infra"),
        Code.SCREEN_LOCKED: Nature(owner="infra"),
        Code.ASSET_UNREACHABLE: Nature(owner="infra"),
        Code.HOST_STORAGE_FULL: Nature(owner="infra"),
        Code.RUN_ABANDONED: Nature(owner="infra"),
        Code.RUN_CRASHED: Nature(owner="infra"),
    }
)


class FailedError(Exception):
    """The action, or the run, failed; the message is for the person who must correct it."""

    def __init__(self, code: Code, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail

    def as_json(self) -> dict[str, object]:
        """Return the failure as the executor events have it."""
        nature = NATURES[self.code]
        return {
            "code": f"{self.code}:{self.detail}" if self.detail else str(self.code),
            "class": nature.owner,
            "final": nature.final,
            "message": self.message[:4000],
        }


class StoppedError(Exception):
    """The agent asked the run to stop; the text is its reason."""


class LinkLostError(Exception):
    """adb.sock does not answer: the agent is gone or has closed it."""
