"""The shop: an app without ids, as a person with adb sees it."""

import pytest
from phonefarm_simulator.farm import SimulatedPhone
from phonefarm_simulator.ledger import Kind
from support.adb import AdbServer

SHOP = "com.example.shop"


async def dumped(adb: AdbServer, phone: SimulatedPhone) -> str:
    """Return the screen's dump."""
    return (await adb.shell(phone.address, "uiautomator dump /dev/tty")).text


async def test_dialogs_cover_the_shop_until_they_are_closed(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """A consent, then an update: by their buttons; the consent is asked for once."""
    seen = []
    await adb.shell(phone.address, f"am start -n {SHOP}/.MainActivity")
    for _ in range(2):
        seen.append(await dumped(adb, phone))
        await adb.shell(phone.address, "input keyevent BACK")
        await adb.shell(phone.address, "input tap 360 764")
    seen.append(await dumped(adb, phone))
    await adb.shell(phone.address, f"am force-stop {SHOP}")
    await adb.shell(phone.address, f"monkey -p {SHOP} 1")
    again = await dumped(adb, phone)

    words = ("Accept all", "Later", "Offers")
    assert [word for word, screen in zip(words, seen, strict=True) if word in screen] == list(words)
    assert 'resource-id="com.example.shop:id/card"' in seen[2]
    assert "Later" in again
    dismissed = [entry for entry in phone.ledger() if entry.kind is Kind.DIALOG_DISMISSED]
    closed = [entry.detail["dialog"] for entry in dismissed]
    assert closed == ["consent", "update"]


async def test_only_one_app_is_in_front(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Starting one hides the other; ending one shows the launcher with both icons."""
    fronts = []
    for command in (
        f"am start -n {SHOP}/.MainActivity",
        "am start -n com.example.shortvideo/.MainActivity",
        "am force-stop com.example.shortvideo",
    ):
        await adb.shell(phone.address, command)
        fronts.append((await adb.shell(phone.address, "dumpsys window")).text)
    launcher = await dumped(adb, phone)

    assert f"{SHOP}/{SHOP}.MainActivity" in fronts[0]
    assert "com.example.shortvideo/com.example.shortvideo.MainActivity" in fronts[1]
    assert "com.android.launcher" in fronts[2]
    assert 'text="Shop"' in launcher
    assert 'text="Short Video"' in launcher


@pytest.mark.parametrize("command", ["pm clear", "pm uninstall"])
async def test_cleared_data_bring_the_consent_back(
    adb: AdbServer, phone: SimulatedPhone, command: str
) -> None:
    """The other app keeps its own."""
    await adb.shell(phone.address, f"monkey -p {SHOP} 1")
    await adb.shell(phone.address, "input tap 360 764")

    await adb.shell(phone.address, f"{command} {SHOP}")
    started = await adb.shell(phone.address, f"monkey -p {SHOP} 1")

    if command == "pm clear":
        assert "Accept all" in await dumped(adb, phone)
    else:
        assert started.status == 252
    cleared = [entry for entry in phone.ledger() if entry.kind is Kind.APP_DATA_CLEARED]
    assert [entry.detail for entry in cleared] == [{"package": SHOP}]


async def test_a_sliding_screen_is_found_lower_than_it_is(
    adb: AdbServer, phone: SimulatedPhone
) -> None:
    """For so many dumps of each new screen, no two alike; then it is in its place."""
    await adb.shell(phone.address, "am start -n com.example.shortvideo/.MainActivity")
    await phone.fault("screen_slides", count=2)
    await adb.shell(phone.address, "input tap 360 1220")

    dumps = [await dumped(adb, phone) for _ in range(4)]

    assert 'bounds="[240,1160][480,1280]"' in dumps[2]
    assert dumps[2] == dumps[3]
    assert len(set(dumps)) == 3
