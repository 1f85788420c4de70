"""Reading screens and typing text, whatever they hold."""

import io
import os
import time
from typing import Any

import pytest
from hypothesis import strategies as st
from phonefarm_executor.control_client import EVIDENCE_LIMIT
from phonefarm_executor.evidence import fitted
from phonefarm_executor.failures import FailedError
from phonefarm_executor.phone import TEXT_AT_ONCE, has_keys, typed_pieces
from phonefarm_executor.screen import Alternative, DumpError, Selector, read_screen
from PIL import Image
from support.examples import given

DUMP = (
    "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>"
    '<hierarchy rotation="0"><node text="" resource-id="app:id/row" class="android.view.View" '
    'package="app" content-desc="One &amp; only" bounds="[0,10][100,30]">'
    '<node text="Grüße" resource-id="app:id/title" class="android.widget.TextView" package="app" '
    'content-desc="" bounds="[5,12][50,20]" /></node></hierarchy>'
).encode()


LIST = (
    b'<hierarchy rotation="0">'
    b'<node text="Suche" class="android.widget.Button" package="app" bounds="[0,0][10,10]" />'
    b'<node text="@cat" class="android.widget.Button" package="app" bounds="[0,20][10,30]" />'
    b"</hierarchy>"
)


def one(**given: Any) -> Selector:
    """Return a selector of one alternative."""
    return Selector(name="a.view", alternatives=(Alternative(**given),))


def several(*alternatives: Alternative) -> Selector:
    """Return a selector of these alternatives."""
    return Selector(name="a.view", alternatives=alternatives)


def test_the_first_alternative_that_matches_counts() -> None:
    """Whatever the order on the screen; an index says which of the views that match."""
    screen = read_screen(LIST)
    german = Alternative(text="Suche")
    second = Alternative(kind="android.widget.Button", index=1, strip="@")
    selector = several(Alternative(text="Search"), second, german)

    node = screen.find(selector)

    assert node is not None
    assert node.text == "@cat"
    assert selector.value_of(node) == "cat"
    assert screen.alternative_of(selector) is second
    assert [each.text for each in screen.find_all(several(german, second))] == ["Suche"]
    assert screen.find(several(Alternative(kind="android.widget.Button", index=2))) is None


def test_views_are_found_by_all_that_a_selector_gives() -> None:
    """Every given property must match; a match has its place and everything it reads."""
    screen = read_screen(DUMP)

    row = screen.find(one(description="One & only", kind="android.view.View"))
    title = screen.find(one(text_contains="üß"))

    assert row is not None
    assert title is not None
    assert row.center == (50, 20)
    assert row.texts() == ("One & only", "Grüße")
    assert title.text == "Grüße"
    assert screen.find(one(resource_id="app:id/row", text="Grüße")) is None
    assert screen.packages() == {"app"}


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"<hierarchy>",
        b"<html></html>",
        b"<hierarchy>\x00</hierarchy>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><hierarchy>&a;</hierarchy>',
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><hierarchy>&a;</hierarchy>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="rot13"?><hierarchy',
    ],
)
def test_what_is_no_dump_is_refused(xml: bytes) -> None:
    """Broken XML, another document and declared entities are all no UI dump."""
    with pytest.raises(DumpError):
        read_screen(xml)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(st.integers(0, len(DUMP)), st.binary(max_size=5)).map(
            lambda change: DUMP[: change[0]] + change[1] + DUMP[change[0] + 3 :]
        ),
    )
)
def test_hostile_dumps_are_read_or_refused(xml: bytes) -> None:
    """Arbitrary and damaged bytes end in a screen or in DumpError, never in anything else."""
    try:
        screen = read_screen(xml)
    except DumpError:
        return

    assert len(screen.words(50)) <= 50


def test_a_deep_dump_is_read_in_bounded_time() -> None:
    """Ten thousand views inside each other are no trap."""
    depth = 10_000
    begun = time.process_time()  # what else the machine does costs nothing here

    screen = read_screen(b"<hierarchy>" + b"<node>" * depth + b"</node>" * depth + b"</hierarchy>")

    assert len(screen.nodes) == depth
    assert time.process_time() - begun < 5


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300))
def test_typed_text_arrives_as_it_was(text: str) -> None:
    """What `input text` makes of the pieces (%s is a space) is the text; no piece is long."""
    pieces = typed_pieces(text)

    assert "".join(piece.replace("%s", " ") for piece in pieces) == text
    assert all(0 < len(piece) <= TEXT_AT_ONCE + 1 for piece in pieces)


@pytest.mark.parametrize(
    ("text", "typeable"),
    [("plain ~!'\"", True), ("", True), ("é", False), ("a\n", False), ("\t", False), ("😀", False)],
)
def test_only_printable_ascii_can_be_typed(text: str, typeable: bool) -> None:
    """`input text` has keys for printable ASCII and for nothing else."""
    assert has_keys(text) is typeable


def test_a_large_picture_is_made_smaller() -> None:
    """A picture beyond an evidence frame is halved until it fits; a small one stays as it is."""
    noise = Image.frombytes("RGB", (1080, 1920), os.urandom(1080 * 1920 * 3))
    large = io.BytesIO()
    noise.save(large, format="PNG")

    small = fitted(large.getvalue())

    assert len(small) <= EVIDENCE_LIMIT
    with Image.open(io.BytesIO(small)) as image:
        assert image.height in {480, 240}
    assert fitted(small) is small


def test_a_large_picture_that_is_none_is_a_failure() -> None:
    """Bytes that are no picture fail as what they are."""
    with pytest.raises(FailedError, match="cannot be read"):
        fitted(b"\x89PNG\r\n\x1a\n" + bytes(EVIDENCE_LIMIT))
