"""Whatever callers send, the gateway answers, and never with a failure of its own."""

import json
from typing import Any

import pytest
from gateway.support.farm import enqueue_body, farm, maintenance_body
from hypothesis import example
from hypothesis import strategies as st
from phonefarm_gateway.strict_json import (
    MOST_NESTING,
    NotAcceptableError,
    NotJsonError,
    dump,
    parse,
)
from support.examples import at_most, given

PATHS = (
    "/capability-requests/enqueue",
    "/maintenance/requests",
    "/processes/6f1c2f0e-8f0f-4c55-9d55-0f6a1a2b3c4d/cancel",
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**90, max_value=10**120)
    | st.floats()
    | st.text(alphabet=st.characters(), max_size=20)
    | st.sampled_from(["direct", "queue", "group", "manual", "2030-01-01T00:00:00Z", "http://e.x"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def disturbed(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a good body of one of the endpoints with some of its values, at any depth, replaced."""
    bodies = [
        enqueue_body(priority=3, deadline="2030-01-01T00:00:00Z", dry_run=False),
        maintenance_body(),
        {"reason": "r", "requested_by": {"system": "s"}, "strategy": "soft"},
    ]
    body: dict[str, Any] = json.loads(json.dumps(draw(st.sampled_from(bodies))))
    for _ in range(draw(st.integers(min_value=1, max_value=3))):
        place: Any = body
        while True:
            if isinstance(place, dict) and place:
                key: Any = draw(st.sampled_from(sorted(place)))
            elif isinstance(place, list) and place:
                key = draw(st.integers(min_value=0, max_value=len(place) - 1))
            else:
                break
            if not isinstance(place[key], dict | list) or draw(st.booleans()):
                place[key] = draw(VALUES)
                break
            place = place[key]
    return body


def _raw(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


BODIES = st.binary(max_size=200) | VALUES.map(_raw) | disturbed().map(_raw)


@at_most(60)
@given(requests=st.lists(st.tuples(st.sampled_from(PATHS), BODIES), min_size=5, max_size=15))
async def test_no_body_makes_the_gateway_fail(requests: list[tuple[str, bytes]]) -> None:
    """Arbitrary bytes, arbitrary JSON and disturbed good bodies get an answer below 500."""
    async with farm() as it:
        for path, body in requests:
            answer = await it.call("POST", path, body)

            assert answer.status in {200, 202, 404, 422}
            assert answer.status != 422 or answer.body["errors"]


def _taken(raw: bytes) -> tuple[Any, str | None]:
    """Return what *raw* was parsed to, or None and why it was refused."""
    try:
        return parse(raw), None
    except (NotJsonError, NotAcceptableError) as error:
        return None, str(error)


@given(VALUES)
def test_what_is_taken_is_kept(value: Any) -> None:
    """Parsing and writing again loses nothing: not the order of keys, not an integer's digits."""
    taken, refusal = _taken(json.dumps(value).encode())

    assert refusal or dump(taken) == json.dumps(value, separators=(",", ":"))


@given(st.binary(max_size=400))
def test_any_bytes_are_taken_or_refused(raw: bytes) -> None:
    """The parser says no with a sentence, and what it takes can be written again."""
    taken, refusal = _taken(raw)

    assert refusal or dump(taken)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":', "[[1,2],"])
@example(times=MOST_NESTING // 2)
@example(times=MOST_NESTING // 2 + 1)
@example(times=MOST_NESTING - 1)
@example(times=MOST_NESTING)
@example(times=MOST_NESTING + 1)
@given(times=st.integers(min_value=1, max_value=20_000))
def test_only_shallow_nesting_is_taken(opening: str, times: int) -> None:
    """What is nested deeper than allowed is refused at every depth, closed or not."""
    has_list_beside = opening.endswith(",")
    brackets = ["["] if has_list_beside else [c for c in opening if c in "[{"]
    closing = "".join({"[": "]", "{": "}"}[c] for c in reversed(brackets))
    levels = len(brackets) * times + has_list_beside

    _, unclosed = _taken(opening.encode() * times)
    _, closed = _taken((opening * times + "1" + closing * times).encode())

    assert unclosed
    assert bool(closed) == (levels > MOST_NESTING)
