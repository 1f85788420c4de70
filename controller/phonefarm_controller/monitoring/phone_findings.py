"""The doctor's check of phones: each phone is in one class, that of its first problem."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from phonefarm_common.wire_enums import Transport

from phonefarm_controller.alarms import Finding
from phonefarm_controller.model.blockers import Blocker, BlockerKind, PhoneNow, blockers_of_phone
from phonefarm_controller.model.health import DIRTY
from phonefarm_controller.monitoring.findings import counted, ok, some, warn
from phonefarm_controller.scheduler.remedies import remedy
from phonefarm_controller.store.phone_reports import StoredUnidentifiedDevice

_K = BlockerKind
CHECK: Final = "phones"


@dataclass(frozen=True, kw_only=True)
class PhoneClass:
    """A class of phones, in words for one phone and for several."""

    one: str
    many: str
    wrong: bool = True
    """True if it is a problem; False if it was planned, or if another check reports it."""

    def of(self, count: int) -> str:
        """Return the class for so many phones."""
        return self.one if count == 1 else self.many


def _alike(words: str, *, wrong: bool = True) -> PhoneClass:
    return PhoneClass(one=words, many=words, wrong=wrong)


FREE: Final = _alike("free", wrong=False)
DIRTY_CLASS: Final = _alike("dirty")
_WITHHELD: Final = _alike("quarantined until somebody returns it")
_FOR_A_TIME: Final = _alike("quarantined for a time")
_CLASSES: Final[Mapping[BlockerKind, PhoneClass]] = {
    _K.AGENT_DISCONNECTED: _alike("on a host that is not connected", wrong=False),
    _K.HOST_INCIDENT: _alike("withheld with the host", wrong=False),
    _K.PHONE_QUARANTINED: _WITHHELD,
    _K.PHONE_NEEDS_HANDS: PhoneClass(one="needs hands", many="need hands"),
    _K.PHONE_OFFLINE: _alike("offline"),
    _K.PHONE_UNFIT: _alike("unfit"),
    _K.PHONE_NOT_ADMITTED: _alike("not admitted"),
    _K.PHONE_DRAINING: _alike("drained"),
    _K.PHONE_IN_MAINTENANCE: _alike("in maintenance", wrong=False),
    _K.AGENT_DRAINING: _alike("on a drained host", wrong=False),
    _K.PHONE_BUSY: _alike("busy", wrong=False),
    _K.PHONE_COOLING_DOWN: _alike("resting", wrong=False),
    _K.NOT_OFFERED: _alike("not offered yet", wrong=False),
}
"""The classes in the order of importance: what a person must repair comes first."""


def phone_class(blockers: Iterable[Blocker]) -> tuple[PhoneClass, Blocker | None]:
    """Return the class of a phone with these blockers, and the blocker that decides it."""
    by_kind = {blocker.kind: blocker for blocker in blockers}
    for kind, found in _CLASSES.items():
        if kind in by_kind:
            return _narrowed(found, by_kind[kind]), by_kind[kind]
    return FREE, None


def _narrowed(found: PhoneClass, blocker: Blocker) -> PhoneClass:
    if blocker.kind is _K.PHONE_QUARANTINED:
        if blocker.detail.startswith(DIRTY):
            return DIRTY_CLASS
        return found if blocker.moment is None else _FOR_A_TIME
    if blocker.kind is _K.PHONE_OFFLINE and blocker.detail != Transport.OFFLINE:
        return _alike(blocker.detail.replace("_", " "))
    return found


def findings_of_phones(
    known: Iterable[PhoneNow], unidentified: Sequence[StoredUnidentifiedDevice]
) -> tuple[list[Finding], str]:
    """Return the findings of phones, and all phones in one line; *known* has no retired ones."""
    classes: dict[PhoneClass, list[tuple[str, Blocker | None]]] = defaultdict(list)
    for phone in known:
        found, decisive = phone_class(blockers_of_phone(phone))
        classes[found].append((phone.phone_id, decisive))
    total = sum(len(members) for members in classes.values())
    parts = ", ".join(
        f"{len(members)} {each.of(len(members))}" for each, members in classes.items()
    )
    line = f"{counted(total, 'phone')}: {parts}" if total else "no phone yet"
    findings = [
        warn(
            CHECK,
            f"{_verbed(each, len(members))}: {some([name for name, _ in members])}",
            remedy([blocker for _, blocker in members if blocker is not None]),
        )
        for each, members in classes.items()
        if each.wrong
    ]
    findings += _unidentified(unidentified)
    return findings or [ok(CHECK, line)], line


def _verbed(each: PhoneClass, count: int) -> str:
    """Return `2 phones are dirty`, `1 phone needs hands`."""
    is_verb = each.one != each.many
    verb = "" if is_verb else "is " if count == 1 else "are "
    return f"{counted(count, 'phone')} {verb}{each.of(count)}"


def _unidentified(devices: Sequence[StoredUnidentifiedDevice]) -> list[Finding]:
    names = [
        f"{kept.device.adb_serial} at {kept.agent_id} ({kept.device.transport})"
        for kept in devices
        if kept.device.needs_hands
    ]
    if not names:
        return []
    text = f"{counted(len(names), 'device')} that adb lists cannot be identified: {some(names)}"
    return [warn(CHECK, text, "`phonefarm phones needs-hands` shows what to do at each device")]
