"""Files of app profiles: what is no profile is told by line and key, as the executor would."""

import tomllib
from contextlib import suppress
from importlib import resources

import pytest
from hypothesis import strategies as st
from phonefarm_cli.console.input_file import InputFileError
from phonefarm_cli.console.profile_file import read_profile_file
from phonefarm_executor.app_profile import read_profile
from phonefarm_executor.failures import FailedError
from support.examples import given

SHORTVIDEO = (
    resources.files("phonefarm_controller").joinpath("profiles", "shortvideo.toml").read_text()
)

SMALL = """\
format = 1
package = "com.example.app"
activity = ".Main"

[screens.feed]
shows = { id = "title" }
tap = "nav.feed"

[screens.inner]
shows = { text = "Inner" }
from = "feed"
tap = "nav.inner"

[selectors.nav]
feed = { id = "nav_feed" }
inner = { id = "nav_inner" }

[[interrupts]]
name = "consent"
shows = { id = "consent" }
dismiss = { id = "consent" }

[[interrupts]]
name = "log-in"
shows = { id = "login" }
stop = "account_logged_out"
"""


def executor_takes(toml: str) -> bool:
    """Tell whether the executor would read the profile."""
    try:
        read_profile(tomllib.loads(toml) | {"name": "p", "version": "v"})
    except (FailedError, tomllib.TOMLDecodeError):
        return False
    return True


@pytest.mark.parametrize("toml", [SMALL, SHORTVIDEO])
def test_a_profile_is_taken(toml: str) -> None:
    """The packaged profile and a small one; the screens that taps lead to are known."""
    found = read_profile_file(toml.encode())

    assert executor_takes(toml)
    assert found.toml == toml
    assert "feed" in found.tapped
    assert found.tapped <= found.screens


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("format = 1", "format = 3", 1, "format must be 1 or 2"),
        ("format = 1", "format = true", 1, "format must be 1 or 2"),
        ("format = 1\n", "", 0, "format must be 1 or 2"),
        ('package = "com.example.app"', "package = 3", 2, "package must be given"),
        ('activity = ".Main"', 'activity = ""', 3, "activity must be given"),
        ('activity = ".Main"', 'activity = ".Main"\nshare_activity = 1', 4, "share_activity must"),
        ('shows = { id = "title" }\n', "", 5, "screens.feed.shows must be a selector"),
        ('tap = "nav.feed"', 'tap = "nav.gone"', 7, "screens.feed.tap is not the name"),
        ('tap = "nav.feed"', "tap = []", 7, "screens.feed.tap is not the name"),
        ('tap = "nav.feed"', 'tip = "nav.feed"', 7, "screens.feed.tip is not a known key"),
        ('from = "feed"', 'from = "inner"', 11, "screens.inner.from must lead back"),
        ('from = "feed"', 'from = "gone"', 11, "screens.inner.from must lead back"),
        ('from = "feed"', "from = 3", 11, "screens.inner.from must lead back"),
        ('tap = "nav.inner"\n', "", 11, "screens.inner.from needs a `tap`"),
        ('feed = { id = "nav_feed" }', "feed = {}", 15, "selectors.nav.feed must contain at least"),
        (
            'feed = { id = "nav_feed" }',
            "feed = { id = 3 }",
            15,
            "selectors.nav.feed.id must be text",
        ),
        ('feed = { id = "nav_feed" }', 'feed = "x"', 15, "selectors.nav.feed must be a selector"),
        (
            'feed = { id = "nav_feed" }',
            'feed = { ID = "x" }',
            15,
            "selectors.nav.feed.ID is not a known key",
        ),
        ('dismiss = { id = "consent" }\n', "", 18, "interrupts[0] needs one of dismiss, press"),
        ('stop = "account_logged_out"', 'stop = "no"', 26, "interrupts[1].stop must be one of"),
        ('stop = "account_logged_out"', "stop = []", 26, "interrupts[1].stop must be one of"),
        ('name = "log-in"\n', "", 23, "interrupts[1].name must be given"),
        ('dismiss = { id = "consent" }', 'press = "back"', 21, "interrupts[0].press must be a"),
        ('name = "log-in"', 'name = "log-in"\npress = "BACK"', 23, "interrupts[1] needs one of"),
        ('feed = { id = "nav_feed" }', "feed = []", 15, "nav.feed must contain 1 to 50"),
        ('feed = { id = "nav_feed" }', "feed = [{}]", 15, "nav.feed must contain at least"),
        ('feed = { id = "nav_feed" }', "feed = { index = 1 }", 15, "must contain at least"),
        ('{ id = "nav_feed" }', '{ id = "x", index = -1 }', 15, "feed.index must be a whole"),
        ('{ id = "nav_feed" }', '{ id = ["x", "y"] }', 15, "feed.id must be text"),
        ('{ id = "nav_feed" }', "{ text = [] }", 15, "feed.text must be text, or a list"),
        (
            '{ id = "nav_feed" }',
            f"{{ text = {['x'] * 8}, description = {['y'] * 7} }}",
            15,
            "must contain 1 to 50 alternatives",
        ),
        ("[selectors.nav]", "[account]\n[selectors.nav]", 14, "account requires format = 2"),
        ('package = "com.example.app"', 'package = "com', 2, "is not TOML"),
        ("[selectors.nav]", "[selectors.nav", 14, "is not TOML"),
    ],
)
def test_what_is_wrong_is_told_by_line_and_key(old: str, new: str, line: int, told: str) -> None:
    """The line is the key's own, or its table's when the key is missing."""
    broken = SMALL.replace(old, new, 1)
    assert broken != SMALL

    with pytest.raises(InputFileError) as caught:
        read_profile_file(broken.encode())

    assert any(one.line == line and told in one.text for one in caught.value.wrong), caught.value
    assert not executor_takes(broken)


ACCOUNT = """\
[account]
screen = "feed"
name = "nav.name"

[selectors.nav]
name = { id = "name" }
"""


def with_account(old: str = "", new: str = "") -> str:
    """Return the small profile in format 2, with an account that is changed from old to new."""
    account = ACCOUNT.replace(old, new, 1) if old else ACCOUNT
    return SMALL.replace("format = 1", "format = 2").replace("[selectors.nav]\n", account)


def test_alternatives_keys_and_an_account_are_taken() -> None:
    """The whole of format 2; what a selector may give beside, format 1 takes as well."""
    wide = with_account().replace(
        'feed = { id = "nav_feed" }',
        'feed = [{ id = "nav_feed" }, { text = ["Home", "Start"], class = "b", index = 0 }]',
    )
    pressed = SMALL.replace('dismiss = { id = "consent" }', 'press = "BACK"')

    found = [read_profile_file(toml.encode()) for toml in (wide, pressed)]

    assert len(found) == 2
    assert executor_takes(wide)
    assert executor_takes(pressed)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('screen = "feed"', 'screen = "gone"', "account.screen must name a screen"),
        ('screen = "feed"', "screen = []", "account.screen must name a screen"),
        ('name = "nav.name"', 'name = "nav.gone"', "account.name is not the name of a selector"),
        ('name = "nav.name"', 'who = "nav.name"', "account.who is not a known key"),
    ],
)
def test_an_account_that_cannot_be_read_is_told(old: str, new: str, told: str) -> None:
    """Both readers refuse it."""
    broken = with_account(old, new)

    with pytest.raises(InputFileError) as caught:
        read_profile_file(broken.encode())

    assert any(told in one.text for one in caught.value.wrong), caught.value
    assert not executor_takes(broken)


def test_everything_wrong_is_told_at_once() -> None:
    """In the order of the file."""
    broken = SMALL.replace("format = 1", "format = 9").replace('"nav.feed"', '"nav.fed"')

    with pytest.raises(InputFileError) as caught:
        read_profile_file(broken.encode())

    assert [one.line for one in caught.value.wrong] == [1, 7]


_WORDS = st.sampled_from(
    [
        *("format", "package", "screens", "selectors", "interrupts", "shows", "tap", "from"),
        *("name", "account", "index", "text", "press", "dismiss"),
    ]
)
_JUNK = st.sampled_from(
    [
        *("1", "true", '""', '"nav.feed"', "[]", "{}", "[[1]]", "{ id = 1 }", "[{}]", '"BACK"'),
        *('["x"]', '{ text = ["x", "y"] }', '[{ id = "x" }, { class = "y", index = 0 }]'),
    ]
)


@given(key=_WORDS, value=_JUNK, at=st.integers(0, SMALL.count("\n")))
def test_no_mutation_is_a_surprise(key: str, value: str, at: int) -> None:
    """A junk line anywhere: both readers take the profile, or both refuse it."""
    lines = SMALL.splitlines()
    lines.insert(at, f"{key} = {value}")
    toml = "\n".join(lines)

    taken = []
    with suppress(InputFileError):
        taken.append(read_profile_file(toml.encode()))

    assert bool(taken) == executor_takes(toml)


@given(content=st.binary(max_size=200))
def test_hostile_bytes_are_no_profile(content: bytes) -> None:
    """Whatever comes is refused in words."""
    with pytest.raises(InputFileError):
        read_profile_file(content)
