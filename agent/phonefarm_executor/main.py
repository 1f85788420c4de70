"""Executes one run: prepares, waits at the start gate, acts, and reports how it ended."""

import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeVar

from phonefarm_executor.actions.registry import Context, Outputs, bind
from phonefarm_executor.adb_link import Link
from phonefarm_executor.app_driver import Drive
from phonefarm_executor.control_client import Control
from phonefarm_executor.deadlines import Pace
from phonefarm_executor.events import Outcome, Story
from phonefarm_executor.evidence import Evidence
from phonefarm_executor.failures import (
    NATURES,
    Code,
    FailedError,
    LinkLostError,
    StoppedError,
)
from phonefarm_executor.phone import Phone
from phonefarm_executor.plan import Plan, Step, read_plan
from phonefarm_executor.post_draft import Draft
from phonefarm_executor.prewarm import wait_for_run
from phonefarm_executor.screen_reader import ScreenReader
from phonefarm_executor.search_results import Results
from phonefarm_executor.signals import Signals
from phonefarm_executor.text_input import TextInput
from phonefarm_executor.ui_server import UiServer
from phonefarm_executor.video_judge import Judging

RUN_DIRECTORY = "/run/phonefarm"
ABANDON_SECONDS = 90.0
LINK_PAUSE_SECONDS = 0.5
FLUSH_SECONDS = 5.0
UI_SERVER_SECONDS = 20.0
"""The agent may take this long to start the UI server: twice its own limit."""
LAST_RESORT_SECONDS = 15.0
TELLS_OF_ITS_TOUCH = frozenset({"confirm_post"})
"""The `once` kinds that note in the draft that they are about to touch the phone."""
PROOFS = frozenset({"verify_posted"})
"""Kinds that can find out whether an earlier `once` action had its effect."""

AS_THE_ACCOUNT = frozenset(
    {
        "open_feed",
        "search",
        "watch",
        "scroll_feed",
        "edit_profile_field",
        "share_video",
    }
)
"""Kinds that work for an account: before the first of them, the run checks who is logged in."""

Ready = Callable[[Context], Outputs]
T = TypeVar("T")


class AbandonedError(Exception):
    """The agent did not come back in time; the text says what was missing."""


def main(environment: Mapping[str, str] = os.environ, output: IO[bytes] | None = None) -> int:
    """Perform the plan in PHONEFARM_RUN_DIR (default /run/phonefarm); return the exit code."""
    directory = Path(environment.get("PHONEFARM_RUN_DIR", RUN_DIRECTORY))
    if not wait_for_run(directory, environment):
        return 0
    story = Story(output or sys.stdout.buffer)
    try:
        plan = read_plan(directory / "plan.json")
    except FailedError as error:
        return story.finished(Outcome.FAILED, error)
    # Waiting is bounded everywhere; this ends a run that is stuck all the same.
    faulthandler.dump_traceback_later(plan.cap_seconds + LAST_RESORT_SECONDS, exit=True)
    signals = Signals()
    signal.signal(signal.SIGTERM, lambda *_: signals.stop("terminated"))
    scale = float(environment.get("PHONEFARM_TIME_SCALE", "1"))
    run = Run(plan, directory, story, signals, time_scale=scale)
    try:
        return run.perform()
    except Exception as error:  # noqa: BLE001 - a fault of ours is told like any other ending
        traceback.print_exc()
        return story.finished(Outcome.FAILED, FailedError(Code.RUN_CRASHED, repr(error)))
    finally:
        run.control.close(FLUSH_SECONDS)
        faulthandler.cancel_dump_traceback_later()


class Run:
    """One attempt of one plan on one phone."""

    def __init__(
        self, plan: Plan, directory: Path, story: Story, signals: Signals, *, time_scale: float
    ) -> None:
        self._plan = plan
        self._story = story
        self._ui_questions = 0
        self._account_checked = False
        self._signals = signals
        self._abandon_seconds = ABANDON_SECONDS * time_scale
        self._pace = Pace(signals, cap_seconds=plan.cap_seconds)
        self._link = Link(directory / "adb.sock", plan.serial, self._pace)
        self._phone = Phone(self._link, self._pace, folder=plan.phone_folder)
        self.control = Control(directory / "control.sock", plan.run_id, signals)
        server = UiServer(self._link, self._pace)
        self._reader = ScreenReader(
            phone=self._phone,
            server=server,
            ask_agent=self._ask_for_ui_server,
            package=plan.profile.package,
            pace=self._pace,
        )
        self._drive = Drive(
            self._phone,
            plan.profile,
            self._pace,
            reader=self._reader,
            text=TextInput(phone=self._phone, server=server, package=plan.profile.package),
            time_scale=time_scale,
        )
        self._results = Results(self._drive)
        self._evidence = Evidence(self._phone, server, self.control, self._pace)
        self._judging = Judging(self.control, signals)
        self._draft = Draft(
            directory=directory,
            media_folder=plan.media_folder,
            control=self.control,
            signals=signals,
            pace=self._pace,
        )

    def perform(self) -> int:
        """Prepare, wait for `go`, act; return the exit code that the last line goes with."""
        try:
            ready = self._prepare()
            self.control.ready()
            self._wait_at_gate()
            self._patiently(self._phone.make_folder)
            self._patiently(self._phone.uncover)
            for step in self._plan.steps:
                if step.index not in self._plan.skip:
                    self._act(step, ready)
        except StoppedError:
            return self._story.finished(Outcome.STOPPED)
        except AbandonedError as error:
            failure = FailedError(Code.RUN_ABANDONED, str(error))
            return self._story.finished(Outcome.ABANDONED, failure)
        except FailedError as error:
            return self._story.finished(Outcome.FAILED, error)
        return self._story.finished(Outcome.DONE)

    def _prepare(self) -> dict[int, Ready]:
        """Understand the whole plan and meet the phone, by reads alone."""
        ready = {step.index: bind(step, self._plan.profile) for step in self._plan.steps}
        self._patiently(lambda: self._phone.greet(self._plan.profile.package))
        return ready

    def _wait_at_gate(self) -> None:
        while not self._signals.going:
            self._pace.check()
            self._check_agent()
            self._signals.wait(
                lambda: self._signals.going or self._signals.stop_reason is not None,
                LINK_PAUSE_SECONDS,
            )
        self._pace.check()

    def _act(self, step: Step, ready: Mapping[int, Ready]) -> None:
        self._pace.check()
        sequence = self._story.started(step.index, step.kind)
        if step.once:
            self._wait_for_acknowledgement(sequence)
        begun = time.monotonic()
        try:
            outputs = self._attempt(step, ready)
        except FailedError as error:
            error.message = f"{step.kind}: {error.message}"
            self._story.failed(
                step.index,
                step.kind,
                failure=error,
                seconds=time.monotonic() - begun,
                evidence=self._evidence.of_failure(error, step.index, self._drive.last_screen),
            )
            raise
        seconds = time.monotonic() - begun
        self._story.done(step.index, step.kind, outputs=outputs, seconds=seconds)

    def _attempt(self, step: Step, ready: Mapping[int, Ready]) -> Outputs:
        """Perform a step; a safe one is begun anew when adb.sock was away meanwhile."""
        what = f"action {step.index} ({step.kind})"
        with self._pace.limited(step.limit_seconds, what, shielded=step.once):
            if not step.once:
                return self._patiently(lambda: self._begin(step, ready))
            try:
                return self._once(step, ready)
            except LinkLostError as error:
                message = f"the connection through adb.sock was lost: {error}"
                unknown = FailedError(Code.OUTCOME_UNKNOWN, message, detail=step.kind)
            except FailedError as error:
                if error.code is not Code.OUTCOME_UNKNOWN:
                    raise
                unknown = error
        return self._proven(step, ready, unknown)

    def _begin(self, step: Step, ready: Mapping[int, Ready]) -> Outputs:
        self._reader.begin_action()
        if step.kind in AS_THE_ACCOUNT and not self._account_checked:
            self._check_account()
        return ready[step.index](self._context(step))

    def _check_account(self) -> None:
        if self._plan.profile.account is not None:
            # Words keep the agent from taking the longer silence for the end.
            self._story.log("account_check_started")
            self._drive.check_account(self._plan.account_names)
            self._story.log("account_checked")
        self._account_checked = True

    def _once(self, step: Step, ready: Mapping[int, Ready]) -> Outputs:
        """Perform a `once` step; anew only while it is sure that nothing was touched."""
        while True:
            try:
                return self._begin(step, ready)
            except LinkLostError as error:
                if step.kind not in TELLS_OF_ITS_TOUCH or self._draft.tapped:
                    raise
                self._wait_for_link(str(error))

    def _proven(
        self, step: Step, ready: Mapping[int, Ready], unknown: FailedError
    ) -> dict[str, object]:
        """Return what a `once` step brought when the plan's verify step finds it, else raise.

        An account that is found logged out is told as that: it needs a person either way.
        """
        proofs = (s for s in self._plan.steps[step.index + 1 :] if s.kind in PROOFS)
        proof = next(proofs, None)
        if proof is None:
            raise unknown
        # Words keep the agent from taking the longer silence for the end.
        self._story.log("outcome_unknown", step=step.index, proof=proof.kind)
        try:
            with self._pace.limited(proof.limit_seconds, f"proof ({proof.kind})", shielded=True):
                self._patiently(lambda: ready[proof.index](self._context(proof)))
        except FailedError as error:
            if NATURES[error.code].owner == "account":
                raise
            unknown.message += f"; {proof.kind} did not find it: {error.message}"
            raise unknown from error
        return {"confirmed": True, "proven_by": proof.kind}

    def _context(self, step: Step) -> Context:
        return Context(
            drive=self._drive,
            evidence=self._evidence,
            results=self._results,
            draft=self._draft,
            judging=self._judging,
            index=step.index,
        )

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do *work*, anew each time adb.sock came back; AbandonedError when it does not."""
        while True:
            try:
                return work()
            except LinkLostError as error:
                self._wait_for_link(str(error))

    def _wait_for_link(self, why: str) -> None:
        """Return once adb.sock answers; the time is not charged to the action's limit."""
        begun = time.monotonic()
        while not self._link.answers():
            if time.monotonic() - begun >= self._abandon_seconds:
                raise AbandonedError(
                    f"adb.sock was not available for {self._abandon_seconds:g} s: {why}"
                )
            self._pace.extend(LINK_PAUSE_SECONDS)
            self._pace.wait(LINK_PAUSE_SECONDS)

    def _wait_for_acknowledgement(self, sequence: int) -> None:
        """Return once the controller is known to have the line; until then nothing is done."""
        while not self._signals.has_acknowledged(sequence):
            self._pace.check()
            self._check_agent()
            self._signals.wait(
                lambda: (
                    self._signals.has_acknowledged(sequence)
                    or self._signals.stop_reason is not None
                ),
                LINK_PAUSE_SECONDS,
            )

    def _ask_for_ui_server(self, up: bool, why: str) -> str:
        """Have the agent start or end the UI server; return "" or why it did not."""
        self._ui_questions += 1
        number = self._ui_questions
        self.control.ask_ui_server(number, up=up, why=why)
        end = time.monotonic() + UI_SERVER_SECONDS
        while (refused := self._signals.ui_server(number)) is None:
            self._pace.check()
            self._check_agent()
            if self._signals.silent_since is not None:
                end = time.monotonic() + UI_SERVER_SECONDS  # an agent that is away is asked again
            elif time.monotonic() >= end:
                return f"the agent did not answer within {UI_SERVER_SECONDS:g} s"
            self._signals.wait(
                lambda: (
                    self._signals.ui_server(number) is not None
                    or self._signals.stop_reason is not None
                ),
                LINK_PAUSE_SECONDS,
            )
        return refused

    def _check_agent(self) -> None:
        since = self._signals.silent_since
        if since is not None and time.monotonic() - since >= self._abandon_seconds:
            raise AbandonedError(f"control.sock was not available for {self._abandon_seconds:g} s")
