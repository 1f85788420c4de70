"""The kinds of action. Each kind is a function, which defines its name and its typed params."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NewType

from phonefarm_executor.app_driver import Drive
from phonefarm_executor.app_profile import Profile, read_view
from phonefarm_executor.evidence import Evidence
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.plan import Step
from phonefarm_executor.post_draft import Draft
from phonefarm_executor.screen import Selector
from phonefarm_executor.search_results import Results
from phonefarm_executor.video_judge import Judging

TypedText = NewType("TypedText", str)
"""Text that a run types into a field of the phone; it has no character of UNTYPEABLE."""
SelectorName = NewType("SelectorName", str)
"""The name of a selector of the profile."""
View = NewType("View", Selector)
"""A selector that the action has inline, with the keys of a profile's selectors."""
KeyName = NewType("KeyName", str)
"""A KEYCODE_ name without the prefix."""
FileName = NewType("FileName", str)
"""A plain name for evidence, without a suffix."""
ProfileField = NewType("ProfileField", str)
"""A field of the account's profile that the app profile knows how to read and edit."""
Direction = NewType("Direction", str)
"""The direction in which the finger moves."""
AssetName = NewType("AssetName", str)
"""The run's name for a file that it fetches: a short plain name."""

PageUrl = NewType("PageUrl", str)
"""An http or https URL in ASCII, without characters that have a meaning for a shell."""
PackageName = NewType("PackageName", str)
"""The name of an app's package."""
Sha256 = NewType("Sha256", str)
"""The SHA-256 of a file, in lower-case hexadecimal."""
PropertyNames = NewType("PropertyNames", tuple[str, ...])
"""Names of system properties; a name that ends with a dot stands for all below it."""

UNTYPEABLE = "[\\u0000-\\u0009\\u000b-\\u001f\\u007f-\\u009f\\ud800-\\udfff\\ufffe\\uffff]"
"""The characters that cannot be typed into a field; the controller refuses the same."""
DIRECTIONS = ("up", "down", "left", "right")
Outputs = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an action can use."""

    drive: Drive
    evidence: Evidence
    results: Results
    draft: Draft
    judging: Judging
    index: int


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of action."""

    name: str
    function: Callable[..., Outputs]
    parameters: Mapping[str, inspect.Parameter]
    check: Callable[[Profile], object]
    needs_app: bool

    def bind(self, step: Step, profile: Profile) -> dict[str, Any]:
        """Return the function's arguments; `plan_invalid` or `text_not_typeable` names the param.

        Nothing is done on the phone.
        """
        if profile.is_unknown and self.needs_app:
            raise _invalid(step, "needs an app profile")
        unknown = sorted(step.params.keys() - self.parameters.keys())
        if unknown:
            raise _invalid(step, f"has unknown params: {', '.join(unknown)}")
        arguments = {}
        for name, parameter in self.parameters.items():
            value = step.params.get(name)
            if value is not None:
                arguments[name] = _checked(step, name, parameter.annotation, value, profile)
            elif parameter.default is inspect.Parameter.empty:
                raise _invalid(step, f"needs {name}")
        self.check(profile)
        return arguments


KINDS: dict[str, Kind] = {}


def action(
    function: Callable[..., Outputs],
    *,
    check: Callable[[Profile], object] = lambda _profile: None,
    needs_app: bool = True,
) -> Callable[..., Outputs]:
    """Register *function* as the kind of its name; its keyword-only parameters are the params.

    *check* raises `plan_invalid` for a profile that the kind cannot work with. Only what does not
    need an app may be in a plan without a profile.
    """
    signature = inspect.signature(function)
    KINDS[function.__name__] = Kind(
        name=function.__name__,
        function=function,
        parameters={
            name: parameter
            for name, parameter in signature.parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        },
        check=check,
        needs_app=needs_app,
    )
    return function


def phone_action(function: Callable[..., Outputs]) -> Callable[..., Outputs]:
    """Register *function* as a kind that needs no app."""
    return action(function, needs_app=False)


def action_with(
    check: Callable[[Profile], object], *, needs_app: bool = True
) -> Callable[[Callable[..., Outputs]], Callable[..., Outputs]]:
    """Return `action` with this check of the profile."""
    return lambda function: action(function, check=check, needs_app=needs_app)


def bind(step: Step, profile: Profile) -> Callable[[Context], Outputs]:
    """Return the step ready to be performed; raises what Kind.bind raises."""
    kind = KINDS.get(step.kind)
    if kind is None:
        raise _invalid(
            step, f"is of a kind that this executor does not know; it knows {sorted(KINDS)}"
        )
    arguments = kind.bind(step, profile)
    return lambda context: kind.function(context, **arguments)


def _checked(step: Step, name: str, wanted: Any, value: Any, profile: Profile) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if wanted in {int, int | None}:
        if not isinstance(value, int) or not number or not 0 <= value < 100_000:
            raise _invalid(step, f"{name} must be a whole number, 0 or greater")
        return value
    if wanted in {float, float | None}:
        if not number or not 0 <= value < 1e6:
            raise _invalid(step, f"{name} must be a number of seconds, 0 or greater")
        return float(value)
    if wanted == PropertyNames:
        return _property_names(step, name, value)
    if wanted in {View, View | None}:
        return read_view(value)
    if not isinstance(value, str):
        raise _invalid(step, f"{name} must be a string")
    if wanted == PageUrl and not re.fullmatch(r"https?://[A-Za-z0-9._~:/?#@!$&()*+,=%-]+", value):
        raise _invalid(step, f"{name} must be an http or https URL: {value[:200]!r}")
    if wanted == TypedText and not is_typeable(value):
        raise FailedError(
            Code.TEXT_NOT_TYPEABLE,
            (
                f"action {step.index} ({step.kind}): {name} contains control characters, which "
                f"cannot be typed into a field: {value[:100]!r}"
            ),
        )
    if wanted in {SelectorName, SelectorName | None}:
        profile.selector(value)
    if wanted == ProfileField:
        profile.selector(f"profile.{value}")
        profile.selector(f"edit_profile.{value}")
    if wanted == KeyName and not re.fullmatch(r"[A-Z0-9][A-Z0-9_]{0,40}", value):
        raise _invalid(step, f"{name} must be a KEYCODE_ name without the prefix, such as BACK")
    if wanted == FileName and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", value):
        raise _invalid(step, f"{name} must be a plain file name")
    if wanted == AssetName and not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", value):
        raise _invalid(step, f"{name} must be a short plain name")
    if wanted == PackageName and not re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", value, re.ASCII):
        raise _invalid(step, f"{name} must be the name of a package")
    if wanted == Sha256 and not re.fullmatch(r"[0-9a-f]{64}", value):
        raise _invalid(step, f"{name} must be 64 hexadecimal digits in lower case")
    if wanted == Direction and value not in DIRECTIONS:
        raise _invalid(step, f"{name} must be one of {', '.join(DIRECTIONS)}")
    return value


def _property_names(step: Step, name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        isinstance(each, str) and re.fullmatch(r"[A-Za-z0-9_@:.-]{1,256}", each) for each in value
    ):
        raise _invalid(step, f"{name} must be a list of property names")
    return tuple(value)


def is_typeable(text: str) -> bool:
    """Tell whether a field can hold the text, and a dump of the screen, which is XML, show it."""
    return re.search(UNTYPEABLE, text) is None


def _invalid(step: Step, message: str) -> FailedError:
    return FailedError(Code.PLAN_INVALID, f"action {step.index} ({step.kind}) {message}")
