"""The apps that are installed on the phone: which version, and how an APK is installed."""

import re
from collections.abc import Callable
from pathlib import Path

from phonefarm_executor.adb_link import Answer
from phonefarm_executor.deadlines import Pace
from phonefarm_executor.failures import Code, FailedError

_VERSION_NAME = re.compile(r"^\s*versionName=(.*?)\s*$", re.MULTILINE)
_INSTALLED = re.compile(r"^Success\b", re.MULTILINE)
_INSTALL_FAILED = re.compile(r"Failure \[(INSTALL_[A-Z_]+)")
_INSTALL_HINTS = {
    "INSTALL_FAILED_USER_RESTRICTED": "allow `Install via USB` in the phone's developer options",
    "INSTALL_FAILED_UPDATE_INCOMPATIBLE": (
        "the app on the phone has another signature: remove it first, which deletes its data"
    ),
    "INSTALL_FAILED_VERSION_DOWNGRADE": (
        "the app on the phone is newer: remove it first, which deletes its data"
    ),
    "INSTALL_FAILED_VERIFICATION_FAILURE": (
        "a verifier on the phone, such as Play Protect, refuses the app"
    ),
    "INSTALL_FAILED_TEST_ONLY": "the APK is a test build: build it without android:testOnly",
    "INSTALL_FAILED_INSUFFICIENT_STORAGE": "free space on the phone",
}
"""What to do about a refusal. Xiaomi's phones refuse all installs by adb unless their owner allows
it (sndcpy#64, gnirehtet#514)."""


class Packages:
    """The package manager of one phone. Everything raises what Phone raises."""

    def __init__(
        self,
        run: Callable[..., Answer],
        push: Callable[..., None],
        pace: Pace,
        *,
        folder: str,
    ) -> None:
        """Use the phone's *run* and *push*; APKs are put into the run's *folder* on the phone."""
        self._run = run
        self._push = push
        self._pace = pace
        self._folder = folder

    def version_of(self, package: str) -> str | None:
        """Return the version name of an installed app, None for an app that is not installed.

        It is "" for an app that names none. Source: AOSP PackageManagerShellCommand (`pm path`) and
        Settings.dumpPackageLPr (`dumpsys package`), whose first versionName is that of the app.
        """
        if b"package:" not in self._run("pm", "path", package, expect=None).stdout:
            return None
        said = self._run("dumpsys", "package", package, expect=None).text()
        found = _VERSION_NAME.search(said)
        return found[1] if found and found[1] != "null" else ""

    def install(self, apk: Path, *, sha256: str) -> None:
        """Install an APK, or update its app; `install_refused` with the phone's own words.

        The words count: before Android 7, `pm install` exits with 0 for a failure too. Source: AOSP
        PackageManagerShellCommand.doCommitSession (`Success`, or `Failure [CODE: why]`).
        """
        target = f"{self._folder}/{apk.name}"
        self._push(apk, target, sha256=sha256)
        answer = self._run("pm", "install", "-r", target, expect=None, limit=self._pace.remaining())
        said = answer.text().strip()
        if answer.code or _INSTALLED.search(said) is None:
            found = _INSTALL_FAILED.search(said)
            hint = "" if found is None else _INSTALL_HINTS.get(found[1], "")
            message = f"the phone did not install {apk.name}: {said[-500:]}"
            raise FailedError(Code.INSTALL_REFUSED, f"{message}; {hint}" if hint else message)
