"""An app profile that looks for something the app does not have."""

from importlib import resources
from pathlib import Path

NAME = "brokenapp"


def put_broken_app(data: Path) -> None:
    """Put the profile `brokenapp` where the controller of a farm in *data* reads its own."""
    packaged = resources.files("phonefarm_controller").joinpath("profiles", "shortvideo.toml")
    text = packaged.read_text()
    broken = text.replace('box = { id = "search_box" }', 'box = { id = "gone_box" }')
    assert broken != text
    folder = data / "controller" / "profiles"
    folder.mkdir(parents=True)
    (folder / f"{NAME}.toml").write_text(broken)
