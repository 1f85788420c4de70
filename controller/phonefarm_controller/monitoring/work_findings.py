"""The doctor's checks of work: pauses, the queue, callbacks, and undelivered alerts."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from phonefarm_controller.alarms import Finding
from phonefarm_controller.model.blockers import Blocker, BlockerKind, FarmSnapshot
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.pauses import Pause, PauseScope
from phonefarm_controller.model.receivers import receiver_of
from phonefarm_controller.model.states import DeliveryState
from phonefarm_controller.model.times import moment_text
from phonefarm_controller.monitoring.findings import MOST_NAMES, counted, ok, some, warn
from phonefarm_controller.scheduler.remedies import remedy
from phonefarm_controller.store.deliveries import Delivery, FailingReceiver

ALERTS_CHECK: Final = "alerts"
LATE: Final = timedelta(minutes=1)
"""Gateways send an event at once, so after this time no gateway has tried to send it."""
MOST_QUEUED: Final = 1000
MOST_REASONS: Final = 3
_K = BlockerKind
_OF_ACCOUNT: Final = frozenset(
    {
        _K.WRONG_APP,
        _K.ACCOUNT_INACTIVE,
        _K.ACCOUNT_ELSEWHERE,
        _K.ACCOUNT_AMBIGUOUS,
        _K.ACCOUNT_NEEDS_ATTENTION,
    }
)
_NO_PHONE: Final = frozenset({_K.NO_PHONE_IN_GROUP, _K.NO_PHONE_WITH_APP})


def findings_of_pauses(pauses: Sequence[Pause]) -> list[Finding]:
    """Return what is paused, since when, by whom and why; a pause of all work comes first."""
    if not pauses:
        return [ok("pauses", "nothing is paused")]
    found = sorted(pauses, key=lambda pause: (pause.scope is not PauseScope.ALL, pause.since))
    told = [f"{pause.told} (since {moment_text(pause.since)})" for pause in found]
    scope = f"--{found[0].scope} {found[0].name}".strip()
    resume = f"`phonefarm resume {scope}` ends the pause"
    if len(found) > 1:
        resume = f"`phonefarm pause` lists all pauses; `phonefarm resume {scope}` ends the first"
    return [warn("pauses", f"paused: {some(told)}", resume)]


def finding_of_schedules(troubled: Sequence[tuple[str, str]]) -> Finding:
    """Return which schedules enqueue nothing at present, and why."""
    if not troubled:
        return ok("schedules", "every schedule that is not paused can enqueue its work")
    told = [f"{name} ({why})" for name, why in troubled]
    remedy = (
        f"`phonefarm schedules show {troubled[0][0]}` says more; if the request is wrong for good, "
        "delete the schedule and add it again"
    )
    return warn("schedules", f"enqueue nothing at present: {some(told)}", remedy)


def finding_of_queue(
    count: int,
    sample: Sequence[tuple[Item, Sequence[Blocker]]],
    farm: FarmSnapshot,
    *,
    offering: int,
) -> Finding:
    """Return how many items wait and why; *sample* has the blockers of some of them.

    It is a warning where no agent of this controller offers a phone, and where items wait for an
    account or a phone that only a person can give them.
    """
    more = " or more" if count >= MOST_QUEUED else ""
    many = f"{count} items{more} wait" if count != 1 else "1 item waits"
    if not count:
        return ok("queue", "no item waits")
    kinds: Counter[BlockerKind] = Counter()
    by_kind: dict[BlockerKind, list[Blocker]] = defaultdict(list)
    needed: Counter[BlockerKind] = Counter()
    for item, blockers in sample:
        kinds.update({blocker.kind for blocker in blockers})
        needed.update(_needed(item, blockers, farm))
        for blocker in blockers:
            by_kind[blocker.kind].append(blocker)
    why = ", ".join(f"{kind} ({times})" for kind, times in kinds.most_common(MOST_REASONS))
    of = (
        ""
        if len(sample) >= count
        else f"; these are the reasons for the {len(sample)} most urgent items"
    )
    text = f"{many}{of}: {why}" if why else f"{many}, about to be claimed"
    for kind, _ in needed.most_common(1):
        return warn("queue", text, remedy(by_kind[kind]))
    if not offering:
        helps = "`phonefarm phones list` and `phonefarm processes explain PROCESS` give the reasons"
        return warn("queue", f"{text}; no agent of this controller offers a phone", helps)
    return ok("queue", text)


def _needed(item: Item, blockers: Sequence[Blocker], farm: FarmSnapshot) -> set[BlockerKind]:
    """Return what only a person can change, where it keeps the item from every phone."""
    usable = {phone.phone_id for phone in farm.usable(item)}
    hindered = {blocker.phone_id for blocker in blockers if blocker.kind in _OF_ACCOUNT}
    kinds = {blocker.kind for blocker in blockers}
    return kinds & _NO_PHONE | (kinds & _OF_ACCOUNT if usable <= hindered else set())


def findings_of_receivers(failing: Sequence[FailingReceiver]) -> list[Finding]:
    """Return the receivers that do not take their callbacks, the longest waiting first."""
    found = [
        warn(
            "callbacks",
            f"{counted(each.count, 'callback')} undelivered to {each.receiver or each.url}, the "
            f"oldest since {moment_text(each.since)}: {each.error}",
            "check that the receiver answers: `phonefarm processes deliveries "
            f"{each.process_id}` shows every attempt",
        )
        for each in failing[:MOST_NAMES]
    ]
    if len(failing) > MOST_NAMES:
        others = [each.receiver for each in failing[MOST_NAMES:]]
        found.append(
            warn(
                "callbacks",
                f"callbacks to {counted(len(others), 'other receiver')} fail: {some(others)}",
                "check these receivers, and whether the gateways can reach them",
            )
        )
    return found


def finding_of_alerts(receiver: str, newest: Sequence[Delivery], *, now: datetime) -> Finding:
    """Return whether alerts reach their *receiver*, which is empty without an alert URL."""
    if not receiver:
        return ok(ALERTS_CHECK, "no alert URL is set, so the farm sends no alerts")
    for event in newest:
        settled = event.state in {DeliveryState.DEAD, DeliveryState.STOPPED}
        late = now - event.emitted_at > LATE and event.state is DeliveryState.PENDING
        why = event.last_error or ("no gateway has sent it" if late else "")
        is_ours = receiver_of(event.url) == receiver
        if event.state is DeliveryState.DELIVERED or not is_ours or not (settled or why):
            continue
        helps = (
            "check that the receiver answers, and that the gateways may send to its address "
            "(--allow-callback-cidr); `phonefarm alerts list` shows the events"
        )
        if settled:
            helps = "when the receiver answers again, run `phonefarm alerts replay`"
        text = f"event {event.sequence} has not reached {receiver} ({event.state}): {why}"
        return warn(ALERTS_CHECK, text, helps)
    return ok(ALERTS_CHECK, f"the farm sends its alerts to {receiver}")
