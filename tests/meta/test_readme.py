"""The README says what is so: its verbs exist and its links lead somewhere."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text()


def test_every_make_verb_exists() -> None:
    """`make X` in the README is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    verbs = set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE))

    assert verbs
    assert verbs <= targets


def test_every_link_leads_somewhere() -> None:
    """A relative link names a file or folder of the repository."""
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
