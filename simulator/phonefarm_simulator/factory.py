"""The properties, settings and packages of a new simulated phone."""

import uuid
import zlib
from dataclasses import dataclass

from phonefarm_simulator.views import (
    APP_PACKAGE,
    BROWSER_PACKAGE,
    LAUNCHER_PACKAGE,
    SHOP_PACKAGE,
)

APP_VERSION = "1.4.2"
APP_VERSION_CODE = 142
FINGERPRINT = "sim/sim_phone/sim_phone:14/SIM1.240101.001/1:user/release-keys"


@dataclass(frozen=True, kw_only=True)
class Package:
    """An installed app: only a name, a version and who signed it."""

    path: str
    version: str
    code: int
    system: bool
    installed_at: str = "2026-01-05 09:30:00"
    signer: str = "the phone's maker"

    @property
    def signature(self) -> str:
        """What `dumpsys package` calls the certificate it was signed with."""
        return f"{zlib.crc32(self.path.encode()):08x}"


RELEASES = {23: "6.0", 29: "10", 30: "11", 31: "12", 33: "13", 34: "14", 35: "15", 36: "16"}
"""Android's number of each API level a phone can be told to have."""


def build_properties(*, serial: str, booted: bool, sdk: int) -> dict[str, str]:
    """Return what getprop prints; `serial` as reported, not necessarily the phone's own."""
    done = "1" if booted else ""
    return {
        "dev.bootcomplete": done,
        "persist.sys.locale": "en-US",
        "persist.sys.timezone": "UTC",
        "ro.boot.serialno": serial,
        "ro.build.characteristics": "default",
        "ro.build.fingerprint": FINGERPRINT,
        "ro.build.id": "SIM1.240101.001",
        "ro.build.type": "user",
        "ro.build.version.release": RELEASES[sdk],
        "ro.build.version.sdk": str(sdk),
        "ro.build.version.security_patch": "2024-01-01",
        "ro.product.brand": "Phonefarm",
        "ro.product.cpu.abi": "arm64-v8a",
        "ro.product.cpu.abilist": "arm64-v8a",
        "ro.product.device": "sim_phone",
        "ro.product.manufacturer": "Phonefarm",
        "ro.product.model": "Simulated Phone",
        "ro.product.name": "sim_phone",
        "ro.serialno": serial,
        "ro.sf.lcd_density": "320",
        "sys.boot_completed": done,
    }


def default_settings(serial: str) -> dict[tuple[str, str], str]:
    """Return the settings by namespace and key."""
    return {
        ("global", "adb_enabled"): "1",
        ("global", "airplane_mode_on"): "0",
        ("global", "window_animation_scale"): "1.0",
        ("secure", "android_id"): uuid.uuid5(uuid.NAMESPACE_OID, serial).hex[:16],
        ("secure", "default_input_method"): "com.android.inputmethod.latin/.LatinIME",
        ("system", "screen_brightness"): "102",
        ("system", "screen_brightness_mode"): "0",
        ("system", "screen_off_timeout"): "1800000",
    }


def default_packages() -> dict[str, Package]:
    """Return the installed packages by name."""

    def system(path: str) -> Package:
        return Package(path=path, version="14", code=34, system=True)

    return {
        "android": system("/system/framework/framework-res.apk"),
        LAUNCHER_PACKAGE: system("/system/priv-app/Launcher3/Launcher3.apk"),
        BROWSER_PACKAGE: system("/product/app/Browser/Browser.apk"),
        "com.android.inputmethod.latin": system("/system/app/LatinIME/LatinIME.apk"),
        APP_PACKAGE: Package(
            path=f"/data/app/{APP_PACKAGE}-1/base.apk",
            version=APP_VERSION,
            code=APP_VERSION_CODE,
            system=False,
        ),
        SHOP_PACKAGE: Package(
            path=f"/data/app/{SHOP_PACKAGE}-1/base.apk", version="7.0.3", code=703, system=False
        ),
    }
