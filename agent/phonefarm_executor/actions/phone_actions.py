"""Actions of the phone itself, which need no app: open a URL, read properties, install an APK."""

import json
import time
from collections.abc import Mapping

from phonefarm_executor.actions.registry import (
    AssetName,
    Context,
    Outputs,
    PackageName,
    PageUrl,
    PropertyNames,
    Sha256,
    phone_action,
)
from phonefarm_executor.app_driver import Drive
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.phone import check_chosen

POLL_SECONDS = 0.3
VIEWER_PATIENCES = 3
"""A viewer may take this many times as long as an app's screen, because its first start is slow."""
MOST_BYTES = 100_000
"""The most characters of JSON that a run returns; all properties of a phone are about 60,000."""


@phone_action
def open_url(context: Context, *, url: PageUrl, seconds: float = 0.0) -> Outputs:
    """Open a URL in the phone's default viewer, wait for it, and give the page *seconds*."""
    drive = context.drive
    viewer = drive.phone.viewer_of(url)
    before = drive.phone.foreground()
    drive.phone.view(url)
    shown = _in_front(drive, url, viewer=viewer, before=before)
    drive.pace.wait(seconds)
    return {"url": url, "viewer": drive.phone.foreground() or shown}


def _in_front(drive: Drive, url: str, *, viewer: str, before: str) -> str:
    """Return the activity in front once it is the viewer's, `screen_not_reached` if it never is.

    A phone that does not tell its viewer shows something else than before.
    """
    end = time.monotonic() + VIEWER_PATIENCES * drive.patience
    while True:
        shown = drive.phone.foreground()
        check_chosen(shown, url)
        if viewer and shown.partition("/")[0] == viewer.partition("/")[0]:
            return shown
        if not viewer and shown not in {"", before}:
            return shown
        if time.monotonic() >= end:
            wanted = viewer or "its viewer"
            message = f"the phone shows {shown or 'an unknown activity'}, not {wanted}"
            raise FailedError(Code.SCREEN_NOT_REACHED, message)
        drive.pace.wait(POLL_SECONDS)


@phone_action
def read_properties(context: Context, *, names: PropertyNames) -> Outputs:
    """Read system properties: null for a name that is not set, all that begin with one up to a dot.

    `plan_invalid` when they are too many for the outputs of a run.
    """
    known = context.drive.phone.properties()
    found: dict[str, str | None] = {}
    for name in names:
        if name.endswith("."):
            found |= {each: value for each, value in known.items() if each.startswith(name)}
        else:
            found[name] = known.get(name)
    _check_size(found)
    return {"properties": dict(sorted(found.items()))}


def _check_size(found: Mapping[str, str | None]) -> None:
    size = len(json.dumps(found))
    if size > MOST_BYTES:
        message = (
            f"the names stand for {len(found)} properties with {size} bytes, but a run returns at "
            f"most {MOST_BYTES}: name fewer"
        )
        raise FailedError(Code.PLAN_INVALID, message)


@phone_action
def install_apk(
    context: Context, *, asset: AssetName, sha256: Sha256, package: PackageName
) -> Outputs:
    """Install a fetched APK, or update its app, and return which version the phone has then.

    `asset_differs` when it is another file, before the phone gets it; `install_refused` when the
    phone does not install it, or has no such package afterwards.
    """
    fetched, packages = context.draft.asset(asset), context.drive.phone.packages
    if fetched.sha256 != sha256:
        message = f"the file that was fetched has the SHA-256 {fetched.sha256}, not {sha256}"
        raise FailedError(Code.ASSET_DIFFERS, message)
    before = packages.version_of(package)
    packages.install(fetched.path, sha256=sha256)
    after = packages.version_of(package)
    if after is None:
        message = f"the phone installed the file, but has no {package}: the APK is another package"
        raise FailedError(Code.INSTALL_REFUSED, message)
    return {"package": package, "version": after, "version_before": before}
