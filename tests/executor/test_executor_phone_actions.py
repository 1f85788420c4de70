"""Runs without an app on a simulated phone, over the real adb server and the real proxy."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from phonefarm_executor.app_profile import NO_PROFILE
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.phone import check_chosen
from phonefarm_simulator.factory import Package
from phonefarm_simulator.views import BROWSER_PACKAGE
from support.apk import apk
from support.run_bench import RunBench, executor, plan_of, run_bench, step

URL = "https://example.com/a_(b)?q=1&x=$(reboot)*!,#Error:top"
OTHER = "http://10.0.0.5:8080/"
BENCH: dict[str, Any] = {"package": "", "urls": frozenset({URL, OTHER})}


def without_app(plan: dict[str, Any]) -> None:
    """Make the plan one that needs no app and no account."""
    plan |= {"profile": None, "account": {"account_id": "", "app": ""}}


def opened(bench: RunBench) -> list[str]:
    """Return the URLs that the phone's browser was given."""
    return [entry["url"] for entry in bench.effects("url_opened")]


async def test_urls_are_opened_and_pictured(tmp_path: Path) -> None:
    """The browser gets the very URL, also when it is in front already; no other app is touched."""
    async with (
        run_bench(tmp_path, **BENCH) as bench,
        bench.run(
            step("open_url", url=URL, seconds=0.0),
            step("open_url", url=OTHER, seconds=0.1),
            step("screenshot", name="page"),
            step("ui_dump", name="page"),
            change=without_app,
        ) as story,
    ):
        code, last = await story.ending()

        assert (code, last["outcome"], last["failure"]) == (0, "done", None)
        viewer = f"{BROWSER_PACKAGE}/.MainActivity"
        assert story.outputs() == [
            {"url": URL, "viewer": viewer},
            {"url": OTHER, "viewer": viewer},
            {"evidence": "page.png"},
            {"evidence": "page.xml"},
        ]
        assert opened(bench) == [URL, OTHER]
        assert f"The page of {OTHER}".encode() in bench.control.evidence("page.xml")
        assert {entry["package"] for entry in bench.effects("app_started")} == {BROWSER_PACKAGE}
        assert bench.effects("app_stopped") == []


async def test_properties_are_read_by_name_and_by_branch(tmp_path: Path) -> None:
    """Null for what is not set; nothing on the phone changes."""
    names = ["ro.build.version.release", "ro.product.cpu.", "ro.not.there", "ro.product.c"]
    async with (
        run_bench(tmp_path, **BENCH) as bench,
        bench.run(step("read_properties", names=names), change=without_app) as story,
    ):
        code, _ = await story.ending()

        assert code == 0
        release = bench.phone.phone.properties["ro.build.version.release"]
        assert story.outputs() == [
            {
                "properties": {
                    "ro.build.version.release": release,
                    "ro.not.there": None,
                    "ro.product.c": None,
                    "ro.product.cpu.abi": "arm64-v8a",
                    "ro.product.cpu.abilist": "arm64-v8a",
                }
            }
        ]
        effects = {entry.kind for entry in bench.phone.ledger() if entry.effect}
        assert effects <= {"directory_made"}


async def test_a_value_of_several_lines_is_one_value(tmp_path: Path) -> None:
    """Also one that has brackets of its own; more than a run returns is refused."""
    odd = "first [x]: [y]\nlast]"
    async with run_bench(tmp_path, **BENCH) as bench:
        properties = bench.phone.phone.personality.properties
        properties["big.a"] = "x" * 100_000  # type: ignore[index]
        properties["test.odd"] = odd  # type: ignore[index]
        async with bench.run(
            step("read_properties", names=["test."]),
            step("read_properties", names=["big."]),
            change=without_app,
        ) as story:
            code, last = await story.ending()

        assert code == 1
        assert story.outputs() == [{"properties": {"test.odd": odd}}]
        assert last["failure"]["code"] == "plan_invalid"
        assert "name fewer" in last["failure"]["message"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("no browser", "app_not_installed"),
        ("two browsers", "no_default_app"),
        ("denied", "screen_not_reached"),
    ],
)
async def test_a_url_that_nothing_shows_is_a_failure_that_says_why(
    tmp_path: Path, change: str, code: str
) -> None:
    """No viewer, several of which none is the default, and one that does not start."""
    async with run_bench(tmp_path, **BENCH) as bench:
        packages = bench.phone.phone.packages
        match change:
            case "no browser":
                del packages[BROWSER_PACKAGE]
            case "two browsers":
                packages["com.example.other.browser"] = Package(
                    path="/data/app/o.apk", version="1", code=1, system=False
                )
            case _:
                await bench.phone.fault("am_start_denied")
        async with bench.run(step("open_url", url=URL, seconds=0.0), change=without_app) as story:
            exit_code, last = await story.ending()

        assert exit_code == 1
        assert last["failure"]["code"] == code
        assert last["failure"]["class"] == "work"
        assert opened(bench) == []


APP = "com.example.tool"
NEW = apk(APP, version="2.1", code=21)


def installing(data: bytes = NEW, *, package: str = APP) -> list[dict[str, Any]]:
    """Return the actions of install_apk."""
    digest = hashlib.sha256(data).hexdigest()
    return [
        step("fetch_asset", asset="app", url="http://203.0.113.9/app.apk", type="apk"),
        step("install_apk", asset="app", sha256=digest, package=package),
    ]


async def installed(
    bench: RunBench, fetched: bytes, actions: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Run the actions with an agent that has fetched the file; return outputs and failure."""
    (bench.directory / "assets").mkdir(exist_ok=True)
    (bench.directory / "assets/app.apk").write_bytes(fetched)

    async def answer() -> None:
        await bench.control.until("fetch")
        digest = hashlib.sha256(fetched).hexdigest()
        told = {"path": "assets/app.apk", "bytes": len(fetched), "sha256": digest}
        bench.control.say(type="asset", asset="app", content_type="application/zip", **told)

    async with bench.run(*actions, change=without_app) as story:
        answering = asyncio.create_task(answer())
        _, last = await story.ending()
        await answering
        return story.outputs(), last["failure"]


async def install_by_hand(bench: RunBench, data: bytes) -> None:
    """Install an APK as a person does, with adb."""
    file = bench.directory / "by-hand.apk"
    await asyncio.to_thread(file.write_bytes, data)
    done = await bench.adb.run("install", str(file), serial=bench.phone.address)
    assert done.status == 0, done


@pytest.mark.parametrize("old", [None, "1.0"])
async def test_an_app_is_installed_or_updated(tmp_path: Path, old: str | None) -> None:
    """The outputs tell both versions."""
    async with run_bench(tmp_path, package="", installs=True) as bench:
        if old is not None:
            await install_by_hand(bench, apk(APP, version=old))

        outputs, failure = await installed(bench, NEW, installing())

        assert failure is None
        assert outputs[1] == {"package": APP, "version": "2.1", "version_before": old}
        assert bench.phone.phone.packages[APP].version == "2.1"


@pytest.mark.parametrize(
    ("case", "code", "says"),
    [
        ("restricted", "install_refused", "allow `Install via USB`"),
        ("newer there", "install_refused", "Update version code 21 is older than current 22"),
        ("other signer", "install_refused", "INSTALL_FAILED_UPDATE_INCOMPATIBLE"),
        ("no apk", "install_refused", "INSTALL_PARSE_FAILED_NOT_APK"),
        ("other file", "asset_differs", "not " + hashlib.sha256(NEW).hexdigest()),
        ("other package", "install_refused", "has no com.example.wanted"),
    ],
)
async def test_an_app_that_cannot_be_installed_says_why(
    tmp_path: Path, case: str, code: str, says: str
) -> None:
    """In the phone's own words and with what to do; the app that was there stays."""
    fetched, actions = NEW, installing()
    async with run_bench(tmp_path, package="", installs=True) as bench:
        packages = bench.phone.phone.packages
        match case:
            case "restricted":
                await bench.phone.fault("install_restricted")
            case "newer there":
                await install_by_hand(bench, apk(APP, version="2.2", code=22))
            case "other signer":
                await install_by_hand(bench, apk(APP, signer="b"))
            case "no apk":
                fetched = b"PK\x03\x04 and no more"
                actions = installing(fetched)
            case "other file":
                fetched = apk(APP, version="6.6", code=66)
            case _:
                actions = installing(package="com.example.wanted")
        before = packages.get(APP)

        _, failure = await installed(bench, fetched, actions)

        assert failure is not None
        assert (failure["code"], failure["class"]) == (code, "work")
        assert says in failure["message"]
        assert packages.get(APP) == before or case == "other package"


@pytest.mark.parametrize(
    "actions",
    [
        [step("launch_app")],
        [step("stop_app")],
        [step("tap", selector="search.box")],
        [step("open_url", url="file:///sdcard/x")],
        [step("open_url", url="https://a/'; reboot '")],
        [step("read_properties", names="ro.x")],
        [step("read_properties", names=["a; reboot"])],
        [step("install_apk", asset="app", sha256="0" * 64, package="a; reboot")],
        [step("install_apk", asset="app", sha256="none", package="com.example.tool")],
        [step("push_file", asset="app")],
    ],
    ids=str,
)
async def test_a_plan_that_a_run_without_an_app_cannot_do_never_begins(
    tmp_path: Path, actions: list[dict[str, Any]]
) -> None:
    """Neither phone nor agent is asked."""
    plan = plan_of(actions, serial="nowhere")
    without_app(plan)
    async with executor(tmp_path, json.dumps(plan)) as story:
        code, last = await story.ending()

    assert code == 1
    assert len(story.lines) == 1
    assert last["failure"]["code"] == "plan_invalid"


@pytest.mark.parametrize(
    "component",
    [
        "android/com.android.internal.app.ResolverActivity",
        "com.android.intentresolver/.ChooserActivity",
        "com.android.intentresolver/.ChooserActivityLauncher",
        "com.huawei.android.internal.app/.HwResolverActivity",
    ],
)
def test_every_known_dialog_that_asks_is_known(component: str) -> None:
    """By the end of its name, which the makers' own have in common."""
    with pytest.raises(FailedError, match="default browser") as failed:
        check_chosen(component, URL)

    assert failed.value.code is Code.NO_DEFAULT_APP
    check_chosen("com.android.chrome/com.google.android.apps.chrome.Main", URL)
    assert not NO_PROFILE.package
