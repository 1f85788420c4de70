"""The battery of a phone."""

from dataclasses import dataclass

from phonefarm_simulator.faults import check_number


@dataclass(frozen=True, kw_only=True)
class Battery:
    """The battery: level in percent, temperature in Celsius."""

    level: int = 82
    celsius: float = 27.5
    charging: bool = True
    present: bool = True

    def __post_init__(self) -> None:
        check_number("level", self.level, 0, 100)
        check_number("celsius", self.celsius, -50, 150)
        if not isinstance(self.charging, bool):
            raise TypeError("charging must be true or false")
        if not isinstance(self.present, bool):
            raise TypeError("present must be true or false")
