"""docs/capabilities.md says what the registry says."""

from pathlib import Path

from phonefarm_controller.capabilities.catalog import CAPABILITIES

PAGE = Path(__file__).parents[2] / "docs" / "capabilities.md"


def test_the_page_has_the_table_of_the_registry() -> None:
    """Every capability with its endpoint, modes, routings and inputs; nothing else."""
    rows = [line for line in PAGE.read_text().splitlines() if "` | `/" in line]

    assert rows == [
        f"| `{each.name}` | `{each.endpoint}` | {', '.join(each.modes)} | "
        f"{', '.join(sorted(each.routings))} | {_inputs(each.name)} |"
        for each in sorted(CAPABILITIES.values(), key=lambda each: each.name)
    ]


def _inputs(name: str) -> str:
    fields = CAPABILITIES[name].takes(dummy_allowed=False)
    return ", ".join(f"`{field.name}`{'*' if field.required else ''}" for field in fields)
