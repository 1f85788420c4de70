"""Lines out of chunks."""

from hypothesis import strategies as st
from phonefarm_agent.runtimes.line_splitter import MAX_LINE_BYTES, LineSplitter
from support.examples import given


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" "))),
    cuts=st.lists(st.integers(min_value=1, max_value=30), min_size=1),
    open_end=st.booleans(),
)
def test_lines_are_the_same_however_they_were_cut(
    lines: list[bytes], cuts: list[int], open_end: bool
) -> None:
    """Any cutting yields the lines that were written, the last with or without its end."""
    text = b"\n".join(lines) + (b"" if open_end or not lines else b"\n")
    splitter, found, position, turn = LineSplitter(), [], 0, 0

    while position < len(text):
        size = cuts[turn % len(cuts)]
        found += splitter.feed(text[position : position + size])
        position, turn = position + size, turn + 1
    found += splitter.rest()

    assert found == (text.removesuffix(b"\n").split(b"\n") if text else [])


def test_a_line_beyond_the_limit_is_cut_and_the_next_is_whole() -> None:
    """No line makes the splitter hold more than 1 MiB, in one chunk or in many."""
    splitter = LineSplitter()

    found = splitter.feed(b"a" * (MAX_LINE_BYTES + 5) + b"\n")
    for _ in range(40):
        found += splitter.feed(b"b" * (MAX_LINE_BYTES // 20))
    found += splitter.feed(b"\nnext\n")

    assert found == [b"a" * MAX_LINE_BYTES, b"b" * MAX_LINE_BYTES, b"next"]
    assert splitter.rest() == []
