"""Example bodies of the documentation; a test sends each of them to a real farm."""

from typing import Any, Final

_PROCESS: Final = "4f8b9d0e-2c1a-4d5e-8f60-718293a4b5c6"

ENQUEUE: Final[dict[str, Any]] = {
    "request_id": "warmup-2026-01-31-001",
    "capability": "keyword_warmup",
    "mode": "manual",
    "target": {"routing": "direct", "account_id": "sim-0001"},
    "inputs": {"keywords": ["tiny houses"], "videos_per_keyword": 1, "watch_seconds": 1},
    "callback": {"url": "https://example.com/hooks/phonefarm", "metadata": {"campaign": 7}},
    "requested_by": {"system": "scheduler", "user": None, "metadata": {}},
}
MAINTENANCE: Final[dict[str, Any]] = {
    "request_id": "bio-2026-01-31-001",
    "account_id": "sim-0001",
    "inputs": {"steps": [{"action": "edit_profile", "params": {"bio": "tea and tiny houses"}}]},
    "callback": {"url": "https://example.com/hooks/phonefarm"},
    "requested_by": {"system": "scheduler"},
}
CANCEL: Final[dict[str, Any]] = {
    "reason": "not needed any more",
    "requested_by": {"system": "scheduler"},
    "strategy": "soft_then_force",
    "force_after_seconds": 10,
}
INGEST: Final[dict[str, Any]] = {
    "content_id": "video-001",
    "account_id": "sim-0001",
    "video_path": "https://example.com/videos/001.mp4",
    "caption": "A very small house",
    "hashtags": ["tinyhouse", "#tea"],
    "metadata": {"campaign": 7},
}
SNAPSHOT: Final[dict[str, Any]] = {
    "account_id": "sim-0001",
    "ugc_account_id": "ugc-0001",
    "snapshot_id": "snapshot-001",
    "strategy_version": 3,
    "content_hash": "9f86d081884c7d65",
    "strategy_synced_at": "2026-01-31T12:00:00Z",
    "personality": {"tone": "warm"},
    "stage": "growing",
    "active_skills": ["warmup"],
}
ACCOUNT: Final[dict[str, Any]] = {"phone_id": None, "app": "shortvideo", "active": True}
ACCEPTED: Final[dict[str, Any]] = {
    "status": "accepted",
    "process_id": _PROCESS,
    "request_id": "warmup-2026-01-31-001",
    "process_type": "keyword_warmup",
}
DUPLICATE: Final[dict[str, Any]] = ACCEPTED | {"duplicate": True, "process_status": "executing"}
BECAUSE: Final[dict[str, Any]] = {"reason": "it gets a new cable"}
HOLD: Final[dict[str, Any]] = {"seconds": 1800, "wait_seconds": 600, "reason": "it looks odd"}
PAUSE: Final[dict[str, Any]] = {
    "scope": "app",
    "name": "shortvideo",
    "reason": "a new version of the app",
}
RESUME: Final[dict[str, Any]] = {"scope": "app", "name": "shortvideo"}
WINDOW: Final[dict[str, Any]] = {
    "scope": "capability",
    "name": "keyword_warmup",
    "zone": "Europe/Berlin",
    "hours": ["mon-fri 09:00-17:00", "sat 10:00-12:00"],
    "reason": "the accounts' owners are awake then",
}
NO_WINDOW: Final[dict[str, Any]] = {
    "scope": "capability",
    "name": "keyword_warmup",
    "reason": "it may run at any time again",
}
SCHEDULE: Final[dict[str, Any]] = {
    "name": "morning-warmup",
    "cron": "30 9 * * mon-fri",
    "zone": "Europe/Berlin",
    "jitter_seconds": 600,
    "request": {
        "capability": "keyword_warmup",
        "mode": "manual",
        "target": {"routing": "queue"},
        "inputs": {"keywords": ["tiny houses"], "videos_per_keyword": 2},
        "requested_by": {"system": "scheduler"},
    },
    "reason": "the accounts' owners are awake then",
}
LIMIT: Final[dict[str, Any]] = {
    "kind": "runs_per_day",
    "scope": "every_account",
    "value": 20,
    "zone": "Europe/Berlin",
    "reason": "the accounts shall not be overused",
}
NO_LIMIT: Final[dict[str, Any]] = {
    "kind": "runs_per_day",
    "scope": "every_account",
    "reason": "the trial is over",
}
KEY: Final[dict[str, Any]] = {"name": "scheduler", "scopes": ["submit", "read"]}
GROUP: Final[dict[str, Any]] = {"member_ids": [], "reason": "nobody uses it"}
ACCOUNTS: Final[dict[str, Any]] = {
    "accounts": [{"account_id": "sim-0003", "phone_id": None, "app": "shortvideo"}]
}
