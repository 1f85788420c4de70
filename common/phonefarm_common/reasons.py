"""The reasons of refused calls and the codes of failures, for all programs."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a call was refused. On the wire `<reason>` or `<reason>:<detail>`."""

    INVALID_REQUEST = "invalid_request"
    UNAUTHENTICATED = "unauthenticated"
    NO_SECRET_CONFIGURED = "no_secret_configured"  # noqa: S105 - a reason, not a secret
    GATEWAY_TOKEN_REFUSED = "gateway_token_refused"  # noqa: S105 - a reason as well
    INSUFFICIENT_SCOPE = "insufficient_scope"
    UNKNOWN_PROCESS = "unknown_process"
    UNKNOWN_ACCOUNT = "unknown_account"
    INACTIVE_ACCOUNT = "inactive_account"
    UNKNOWN_PHONE = "unknown_phone"
    INACTIVE_PHONE = "inactive_phone"
    UNKNOWN_GROUP = "unknown_group"
    UNKNOWN_APP = "unknown_app"
    UNKNOWN_CAPABILITY = "unknown_capability"
    UNKNOWN_CONTENT = "unknown_content"
    UNKNOWN_QUEUE_ITEM = "unknown_queue_item"
    UNKNOWN_EVIDENCE = "unknown_evidence"
    EVIDENCE_REMOVED = "evidence_removed"
    EVIDENCE_AWAY = "evidence_away"
    UNKNOWN_KEY = "unknown_key"
    UNKNOWN_SCHEDULE = "unknown_schedule"
    ROUTING_NOT_SUPPORTED = "routing_not_supported"
    CAPABILITY_NOT_LIVE_VERIFIED = "capability_not_live_verified"
    ACCOUNT_REQUIRED = "account_required"
    ACCOUNT_AMBIGUOUS = "account_ambiguous"
    ACCOUNT_NOT_ON_PHONE = "account_not_on_phone"
    EMPTY_GROUP = "empty_group"
    GROUP_TOO_LARGE = "group_too_large"
    UNSUPPORTED_INPUT = "unsupported_input"
    UNSUPPORTED_ACTION = "unsupported_action"
    MISSING_FYP_JUDGE_PROMPT = "missing_fyp_judge_prompt"
    CALLBACK_URL_NOT_ALLOWED = "callback_url_not_allowed"
    ASSET_URL_NOT_ALLOWED = "asset_url_not_allowed"
    ASSET_MISSING = "asset_missing"
    ASSET_UNREACHABLE = "asset_unreachable"
    RATE_LIMITED = "rate_limited"
    STATE_CONFLICT = "state_conflict"
    SCREEN_UNAVAILABLE = "screen_unavailable"
    TOO_MANY_SCREENS = "too_many_screens"
    UNKNOWN_TICKET = "unknown_ticket"
    CONTROLLER_UNAVAILABLE = "controller_unavailable"
    STORAGE_FULL = "storage_full"
    IDENTITY_CLONED = "identity_cloned"
    AGENT_TOO_OLD = "agent_too_old"
    TIME_SCALE_DIFFERS = "time_scale_differs"
    INVITATION_REFUSED = "invitation_refused"
    JOINING_CLOSED = "joining_closed"
    MEMBER_ID_TAKEN = "member_id_taken"
    UNKNOWN_MEMBER = "unknown_member"
    CERTIFICATE_REFUSED = "certificate_refused"
    ROLE_NOT_ALLOWED = "role_not_allowed"
    AGENT_ID_NOT_YOURS = "agent_id_not_yours"
    INTERNAL = "internal"


@dataclass(frozen=True, kw_only=True)
class FieldProblem:
    """The problem with one field: its dotted path, and a sentence with the remedy."""

    field: str
    message: str


class FarmError(Exception):
    """A call was refused and changed nothing."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        detail: str | None = None,
        problems: tuple[FieldProblem, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.detail = detail
        self.problems = problems

    @property
    def text(self) -> str:
        """Return `<reason>` or `<reason>:<detail>`."""
        return f"{self.reason}:{self.detail}" if self.detail else str(self.reason)


class FailureClass(StrEnum):
    """Whose fault a failure is; decides whether the item is tried again."""

    WORK = "work"
    INFRA = "infra"
    ACCOUNT = "account"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class FailureCode(StrEnum):
    """Why an item or a run failed. `outcome_unknown` carries `:<action>` behind it."""

    # work
    SELECTOR_NOT_FOUND = "selector_not_found"
    SCREEN_NOT_REACHED = "screen_not_reached"
    SCREEN_UNREADABLE = "screen_unreadable"
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
    # account
    ACCOUNT_LOGGED_OUT = "account_logged_out"
    ACCOUNT_CHALLENGED = "account_challenged"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_MISMATCH = "account_mismatch"
    # infra
    PHONE_LOST = "phone_lost"
    ADB_FAILED = "adb_failed"
    UI_SERVER_FAILED = "ui_server_failed"
    UI_AUTOMATION_TAKEN = "ui_automation_taken"
    DISPLAY_DARK = "display_dark"
    SCREEN_LOCKED = "screen_locked"
    RUN_SILENT = "run_silent"
    RUN_CRASHED = "run_crashed"
    RUN_ABANDONED = "run_abandoned"
    RUNTIME_FAILED = "runtime_failed"
    LEASE_EXPIRED = "lease_expired"
    LEASE_RELEASED = "lease_released"
    AGENT_FENCED = "agent_fenced"
    EPOCH_TOO_OLD = "epoch_too_old"
    ASSET_UNREACHABLE = "asset_unreachable"
    HOST_STORAGE_FULL = "host_storage_full"
    # ends without a run
    CANCELLED = "cancelled"
    CANCEL_UNCONFIRMED = "cancel_unconfirmed"
    DEADLINE_PASSED = "deadline_passed"
    PHONE_UNAVAILABLE = "phone_unavailable"
