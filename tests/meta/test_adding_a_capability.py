"""docs/adding-a-capability.md is true of the capability that it shows."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding-a-capability.md"
EXAMPLE = "read_properties"
ABOUT = {"docs/adding-a-capability.md", f"tests/meta/{Path(__file__).name}"}
ROW = re.compile(r"^\| \d+ \| `([^`]+)` \|", re.MULTILINE)
BLOCK = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the file and the code of each block of Python on the page."""
    found = BLOCK.findall(page)
    assert len(found) == page.count("```python")
    return found


def listed(page: str) -> list[str]:
    """Return the files in the page's table, in the order of the steps."""
    return ROW.findall(page)


def naming(word: str) -> set[str]:
    """Return the files of the repository, also those that are new, that name *word*."""
    asked = ["git", "grep", "--untracked", "--files-with-matches", "--word-regexp", word]
    found = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True)
    decisions = "docs/adr/"
    return {name for name in found.stdout.splitlines() if not name.startswith(decisions)}


@pytest.mark.parametrize(("file", "code"), blocks(PAGE.read_text()), ids=lambda each: each[:60])
def test_each_block_is_in_its_file(file: str, code: str) -> None:
    """Word by word: who copies it copies what works."""
    assert code in (ROOT / file).read_text()


def test_the_table_has_every_file_that_a_capability_needs() -> None:
    """No step is missing, none is left over, and each block belongs to a step."""
    page = PAGE.read_text()

    assert set(listed(page)) == naming(EXAMPLE) - ABOUT
    assert [file for file, _ in blocks(page)] == [
        file for file in listed(page) if file in dict(blocks(page))
    ]


def test_a_wrong_block_and_a_missing_file_would_be_found() -> None:
    """Both searches can fail."""
    page = "| 1 | `docs/seams.md` | x |\n```python\n# docs/seams.md\nno such line\n```\n"

    assert listed(page) == ["docs/seams.md"]
    assert blocks(page) == [("docs/seams.md", "no such line\n")]
    assert "no such line" not in (ROOT / "docs" / "seams.md").read_text()
    assert naming(EXAMPLE) - ABOUT - set(listed(page))
