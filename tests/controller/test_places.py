"""Every place for evidence does the same: what is kept is whole, what is cut goes on, no more."""

import hashlib
import os
import random
from pathlib import Path

import pytest
from phonefarm_controller.evidence.backends import filesystem as directory_module
from phonefarm_controller.evidence.backends import s3 as bucket_module
from phonefarm_controller.evidence.backends.backend import (
    EvidenceBackend,
    NotKeptError,
    PartialFile,
    PartialFileGoneError,
)
from phonefarm_controller.evidence.backends.s3 import SEGMENT
from support.kept import Kept

MIB = 1024 * 1024
PROCESS, RUN = "p-1", "r-1"
BIG = random.Random(3).randbytes(3 * SEGMENT - 1000)


def path_of(
    place: EvidenceBackend, data: bytes, name: str = "run.log", process_id: str = PROCESS
) -> str:
    """Return where the place keeps it."""
    sha256 = hashlib.sha256(data).hexdigest()
    return place.path_of(process_id=process_id, run_id=RUN, name=name, sha256=sha256)


def add(part: PartialFile, data: bytes) -> None:
    """Send it as an agent does."""
    for at in range(0, len(data), MIB):
        part.add(data[at : at + MIB])


def keep(place: EvidenceBackend, data: bytes, *, path: str = "") -> str:
    """Keep a file; return its path."""
    path = path or path_of(place, data)
    part = place.begin(hashlib.sha256(path.encode()).hexdigest(), 0)
    add(part, data)
    part.settle(path)
    part.become(path)
    part.leave()
    return path


def read(place: EvidenceBackend, path: str, size: int) -> bytes:
    """Read a file whole."""
    reading = place.open(path, size)
    data = b"".join(iter(reading.read, b""))
    reading.close()
    return data


@pytest.mark.parametrize("size", [0, 1, 5000, SEGMENT, len(BIG)])
def test_what_is_kept_is_read_back(kept: Kept, size: int) -> None:
    """Of any length, by any controller; of its upload nothing is left."""
    data = BIG[:size]

    path = keep(kept.place(), data)

    assert read(kept.place("two"), path, size) == data
    assert kept.files() == {f"{RUN}/run.log": data}
    assert kept.parts() == []
    assert not list(kept.scratch.rglob("*.*"))


def test_a_part_says_what_it_has(kept: Kept) -> None:
    """Size and hash are of all bytes, an earlier upload's among them."""
    first, second = kept.place(), kept.place("two")
    part = first.begin("key", 0)
    add(part, BIG[: 2 * SEGMENT + 5])
    part.leave()

    part = second.begin("key", SEGMENT + 7)
    resumed = part.size, part.sha256
    add(part, BIG[SEGMENT + 7 :])

    assert resumed == (SEGMENT + 7, hashlib.sha256(BIG[: SEGMENT + 7]).hexdigest())
    assert (part.size, part.sha256) == (len(BIG), hashlib.sha256(BIG).hexdigest())
    part.remove()


def test_what_is_cut_goes_on_elsewhere(kept: Kept) -> None:
    """Another controller knows what came, and needs but the rest."""
    first, second = kept.place(), kept.place("two")
    cut = first.begin("key", 0)
    add(cut, BIG[: 2 * SEGMENT + 5])
    cut.leave()

    received = second.received("key")
    part = second.begin("key", received)
    add(part, BIG[received:])
    part.settle("p/r/x")
    part.become("p/r/x")
    part.leave()

    assert SEGMENT <= received <= 2 * SEGMENT + 5
    assert read(first, "p/r/x", len(BIG)) == BIG
    assert (first.received("key"), kept.parts()) == (0, [])


def test_whose_agent_has_gone_elsewhere_spoils_nothing(kept: Kept) -> None:
    """The cut upload lives on in its controller, and writes after the next one has begun."""
    first, second = kept.place(), kept.place("two")
    left = first.begin("key", 0)
    add(left, BIG[: SEGMENT + 5])

    received = second.received("key")
    part = second.begin("key", received)
    add(left, BIG[SEGMENT + 5 : 2 * SEGMENT + 7])
    add(part, BIG[received:])
    left.leave()
    part.settle("p/r/x")
    part.become("p/r/x")
    part.leave()

    assert read(first, "p/r/x", len(BIG)) == BIG


def test_of_what_is_removed_nothing_stays(kept: Kept) -> None:
    """A file that is not what it was said to be is not gone on with."""
    place = kept.place()
    part = place.begin("key", 0)
    add(part, BIG)

    part.remove()
    part.leave()

    assert (kept.paths(), place.received("key")) == ([], 0)


def test_what_is_not_there_cannot_be_gone_on_with(kept: Kept) -> None:
    """More than came, or of another file."""
    place = kept.place()
    part = place.begin("key", 0)
    add(part, BIG[: SEGMENT + 5])
    part.leave()

    for key, offset in (("key", 2 * SEGMENT), ("other", 1)):
        with pytest.raises(PartialFileGoneError):
            place.begin(key, offset)


def test_what_is_gone_or_changed_is_not_read(kept: Kept) -> None:
    """A line in the database is no promise of what is still there."""
    place = kept.place()
    path = keep(place, b"what was seen")
    there = place.has(path)

    kept.put(path, b"short")
    with pytest.raises(NotKeptError, match="was changed after it was stored"):
        place.open(path, 13)
    place.remove([path, "p/r/never"])
    with pytest.raises(NotKeptError, match="is no longer in"):
        place.open(path, 13)

    assert (there, place.has(path), kept.paths()) == (True, False, [])


def test_a_folder_is_cleared(kept: Kept) -> None:
    """Whatever lies in it, and nothing beside it."""
    place = kept.place()
    for process_id in ("p-1", "p-12"):
        for name in ("a", "b"):
            keep(place, b"x", path=path_of(place, b"x", name, process_id))

    place.clear("p-1")
    place.clear("p-never")

    assert [path.split("/")[0] for path in kept.paths()] == ["p-12", "p-12"]


def test_parts_that_nobody_goes_on_with_are_swept(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After their time; what is kept stays."""
    place = kept.place()
    path = keep(place, b"kept")
    part = place.begin("key", 0)
    add(part, BIG[: 2 * SEGMENT + 5])
    part.leave()

    young = place.sweep(), place.received("key")
    for module in (bucket_module, directory_module):
        monkeypatch.setattr(module, "MOST_SECONDS", -1)
    old = place.sweep(), place.received("key")

    assert young == (0, young[1])
    assert young[1] >= SEGMENT
    assert old[0] > 0
    assert old[1] == 0
    assert kept.paths() == [path]


def test_the_marker_is_everybodys(kept: Kept) -> None:
    """One controller leaves it, the next finds it."""
    first, second = kept.place(), kept.place("two")

    before = first.marker()
    first.mark("farm-1")

    assert (before, second.marker()) == (None, "farm-1")
    assert "farm-1" in second.marking("farm-1")


def test_what_was_copied_from_a_place_is_read_in_the_other(kept: Kept, tmp_path: Path) -> None:
    """Paths go with the files: that is how a farm moves."""
    place = kept.place()
    path = keep(place, data := os.urandom(5000))
    other = Kept(where=tmp_path / "moved", scratch=tmp_path)
    target = tmp_path / "moved" / path
    target.parent.mkdir(parents=True)

    target.write_bytes(read(place, path, len(data)))

    assert read(other.place(), path, len(data)) == data
    other.place().remove([path])
    assert not list((tmp_path / "moved").iterdir())
