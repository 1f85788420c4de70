"""Fields whose values a command on the phone gets: URLs, property and package names.

Each pattern is in the part of regular expressions that Python and JSON Schema share.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from phonefarm_common.reasons import FieldProblem

from phonefarm_controller.capabilities.fields import Problems, Schema, Text, TextList

_PAGE_URL = (
    "https?://[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*(:[0-9]{1,5})?"
    "([/?#]([A-Za-z0-9._~:/?#@!$&()*+,=-]|%[0-9A-Fa-f]{2})*)?"
)
"""A URL in the characters of RFC 3986, except ' and ;, because they have a meaning for a shell.

The scheme is lower-case, as the intent filters of Android's apps have it.
"""
_NOT_IN_A_URL = re.compile(r"[^A-Za-z0-9._~:/?#@!$&()*+,=%-]")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PROPERTY = "[A-Za-z0-9_@:-]+(\\.[A-Za-z0-9_@:-]+)*\\.?"
"""A name that Android allows, or its beginning up to a dot (AOSP init, IsLegalPropertyName)."""
PACKAGE = "[A-Za-z][A-Za-z0-9_]*(\\.[A-Za-z][A-Za-z0-9_]*)+"
"""An application ID as Android's build tools allow it."""
END = "$(?!\\n)"
"""The end of a text in every dialect; Python's $ would also match before a last line end."""


@dataclass(frozen=True, kw_only=True)
class Patterned(Text):
    """A text that a pattern describes whole."""

    pattern: str = field(repr=False)
    wrong: str = field(default="", repr=False)
    """What to say of a text that does not match."""

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the text."""
        before = len(problems)
        super().read(value, where, problems)
        if len(problems) == before and not re.fullmatch(self.pattern, value):
            problems.append(FieldProblem(field=where, message=self.why(value)))
        return value

    def why(self, _value: str) -> str:
        """Return what is wrong with a text that does not match."""
        return self.wrong

    def schema(self) -> Schema:
        """Return a text's limits and the pattern."""
        return super().schema() | {"pattern": f"^{self.pattern}{END}"}


@dataclass(frozen=True, kw_only=True)
class PageUrl(Patterned):
    """An http or https URL that a phone opens: in ASCII, and with nothing that a shell reads."""

    pattern: str = field(default=_PAGE_URL, repr=False)

    def why(self, value: str) -> str:
        """Name the character, and what to write instead."""
        return _wrong_url(value)


@dataclass(frozen=True, kw_only=True)
class PackageName(Patterned):
    """The name of an app's package."""

    pattern: str = field(default=PACKAGE, repr=False)
    wrong: str = field(default="must be the name of a package, such as com.example.app", repr=False)


@dataclass(frozen=True, kw_only=True)
class Sha256(Patterned):
    """The SHA-256 of a file."""

    pattern: str = field(default="[0-9a-fA-F]{64}", repr=False)
    wrong: str = field(
        default="must be the 64 hexadecimal digits that `sha256sum` prints", repr=False
    )


def _wrong_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        return "must begin with http:// or https://"
    found = _NOT_IN_A_URL.search(url)
    if found is None and _LONE_PERCENT.search(url):
        return "has a % without two hexadecimal digits: for a percent sign, write %25"
    if found is None:
        return "must be a URL with a host name, such as https://example.com/page"
    encoded = "".join(f"%{byte:02X}" for byte in found[0].encode(errors="replace"))
    return f"must not contain {found[0]!r}: in the path and the query, write {encoded} instead"


@dataclass(frozen=True, kw_only=True)
class PropertyNames(TextList):
    """Names of Android's system properties; a name that ends with a dot stands for all below it."""

    def read(self, value: Any, where: str, problems: Problems) -> Any:
        """Return the list."""
        before = len(problems)
        super().read(value, where, problems)
        if len(problems) > before:
            return value
        message = (
            "must be a property's name, such as ro.build.version.release, or the begin of names up "
            "to a dot, such as ro.product."
        )
        problems += [
            FieldProblem(field=f"{where}[{place}]", message=message)
            for place, name in enumerate(value)
            if not re.fullmatch(_PROPERTY, name)
        ]
        return value

    def schema(self) -> Schema:
        """Return the list's limits and what a name may be."""
        schema = super().schema()
        return schema | {"items": schema["items"] | {"pattern": f"^{_PROPERTY}{END}"}}
