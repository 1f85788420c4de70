"""Recognises when many phones disconnect at the same time, which is one incident of the host."""

from collections.abc import Iterable

from phonefarm_common.wire_enums import Transport

from phonefarm_agent.model.host import IncidentKind, Incidents
from phonefarm_agent.phones.device import Device
from phonefarm_agent.phones.limits import PhoneLimits

MANY = 3
LEAST = 2


class MassDisconnect:
    """Counts recent disconnections, and opens an incident of the host when there are many.

    The incident lasts until all but a few are back, or for `lost_lasts`.
    """

    def __init__(self, *, limits: PhoneLimits, incidents: Incidents) -> None:
        self._limits = limits
        self._incidents = incidents
        self._dropped: dict[str, float] = {}  # when, by what adb calls the phone
        self._began_at: float | None = None
        self._excused_until = -float("inf")
        incidents.update(IncidentKind.PHONES_LOST, "")

    @property
    def lasts(self) -> bool:
        """Tell whether the incident is open, and so no phone is recovered alone."""
        return self._began_at is not None

    def ignore_drops(self, now: float) -> None:
        """Ignore drops for a while: the adb server is away."""
        self._dropped.clear()
        self._excused_until = now + self._limits.lost_within

    def drop(self, device: Device, now: float) -> None:
        """Count a phone that dropped."""
        if now - device.recovery_began_at < self._limits.reboot_every or now < self._excused_until:
            return  # it was told to restart, or could not be seen
        if device.serialno:
            self._dropped[device.adb_serial] = device.since

    def update(self, devices: Iterable[Device], now: float) -> None:
        """Open, extend or close the incident."""
        by_serial = {device.adb_serial: device for device in devices if device.serialno}
        for serial, at in list(self._dropped.items()):
            back = serial not in by_serial or by_serial[serial].shown is Transport.ONLINE
            if back or (not self.lasts and now - at > self._limits.lost_within):
                del self._dropped[serial]
        many = _many(len(by_serial))
        if self._began_at is None:
            if len(self._dropped) < many:
                return
            self._began_at = now
        elif len(self._dropped) < many or now - self._began_at > self._limits.lost_lasts:
            self._began_at = None
            self._dropped.clear()
            self._incidents.update(IncidentKind.PHONES_LOST, "")
            return
        lost = [by_serial[serial] for serial in self._dropped]
        states = sorted({device.transport.value for device in lost})
        self._incidents.update(
            IncidentKind.PHONES_LOST,
            f"{len(lost)} of {len(by_serial)} phones disconnected at the same time: "
            f"{', '.join(states)}",
            [device.serialno for device in lost],
        )


def _many(phones: int) -> int:
    """Return how many phones must drop for an incident: three, or half of them."""
    return min(MANY, max(LEAST, -(-phones // 2)))
