"""The blocking client: the asynchronous one, on an event loop in a thread of its own."""

import ssl
from types import TracebackType
from typing import Self

from phonefarm.client.accounts import AsyncAccounts, AsyncGroups
from phonefarm.client.client import AsyncPhonefarm
from phonefarm.client.content import AsyncContent
from phonefarm.client.event_loop_thread import Blocking, EventLoopThread, blocking, iterating
from phonefarm.client.hosts import AsyncHosts
from phonefarm.client.operation import AsyncOperation
from phonefarm.client.phones import AsyncPhones
from phonefarm.client.processes import AsyncProcesses
from phonefarm.client.retries import Retries
from phonefarm.client.schedules import AsyncSchedules


class Processes(Blocking):
    """Work, as a caller sees it."""

    enqueue = blocking(AsyncProcesses.enqueue)
    dry_run = blocking(AsyncProcesses.dry_run)
    enqueue_maintenance = blocking(AsyncProcesses.enqueue_maintenance)
    get = blocking(AsyncProcesses.get)
    page = blocking(AsyncProcesses.page)
    list = iterating(AsyncProcesses.list)
    events = iterating(AsyncProcesses.events)
    wait = blocking(AsyncProcesses.wait)
    cancel = blocking(AsyncProcesses.cancel)
    rerun = blocking(AsyncProcesses.rerun)
    timeline = blocking(AsyncProcesses.timeline)
    explain = blocking(AsyncProcesses.explain)
    queue_item = blocking(AsyncProcesses.queue_item)
    evidence = blocking(AsyncProcesses.evidence)
    evidence_file = blocking(AsyncProcesses.evidence_file)
    deliveries = blocking(AsyncProcesses.deliveries)
    replay_deliveries = blocking(AsyncProcesses.replay_deliveries)


class Content(Blocking):
    """Videos to post, and personas of accounts."""

    ingest = blocking(AsyncContent.ingest)
    cancel = blocking(AsyncContent.cancel)
    upsert_snapshot = blocking(AsyncContent.upsert_snapshot)


class Phones(Blocking):
    """Phones: what they do, and who may use them."""

    list = blocking(AsyncPhones.list)
    get = blocking(AsyncPhones.get)
    needing_hands = blocking(AsyncPhones.needing_hands)
    admit = blocking(AsyncPhones.admit)
    return_ = blocking(AsyncPhones.return_)
    drain = blocking(AsyncPhones.drain)
    maintain = blocking(AsyncPhones.maintain)
    retire = blocking(AsyncPhones.retire)
    release = blocking(AsyncPhones.release)
    hold = blocking(AsyncPhones.hold)
    unhold = blocking(AsyncPhones.unhold)
    get_hold = blocking(AsyncPhones.get_hold)
    still = blocking(AsyncPhones.still)
    inspect = blocking(AsyncPhones.inspect)


class Accounts(Blocking):
    """Accounts, each of one app and on one phone."""

    list = blocking(AsyncAccounts.list)
    put = blocking(AsyncAccounts.put)
    put_many = blocking(AsyncAccounts.put_many)
    clear = blocking(AsyncAccounts.clear)
    delete = blocking(AsyncAccounts.delete)


class Groups(Blocking):
    """Groups of phones, and groups of accounts."""

    list = blocking(AsyncGroups.list)
    put = blocking(AsyncGroups.put)
    change = blocking(AsyncGroups.change)
    put_clean_up = blocking(AsyncGroups.put_clean_up)


class Hosts(Blocking):
    """Hosts: each runs one agent."""

    list = blocking(AsyncHosts.list)
    incidents = blocking(AsyncHosts.incidents)
    drain = blocking(AsyncHosts.drain)
    undrain = blocking(AsyncHosts.undrain)
    invite = blocking(AsyncHosts.invite)
    revoke = blocking(AsyncHosts.revoke)


class Schedules(Blocking):
    """Work that recurs."""

    list = blocking(AsyncSchedules.list)
    add = blocking(AsyncSchedules.add)
    get = blocking(AsyncSchedules.get)
    pause = blocking(AsyncSchedules.pause)
    resume = blocking(AsyncSchedules.resume)
    delete = blocking(AsyncSchedules.delete)


class Operation(Blocking):
    """The farm as a whole."""

    capabilities = blocking(AsyncOperation.capabilities)
    examine = blocking(AsyncOperation.examine)
    failing_receivers = blocking(AsyncOperation.failing_receivers)
    alert_events = blocking(AsyncOperation.alert_events)
    send_test_alert = blocking(AsyncOperation.send_test_alert)
    replay_alert_event = blocking(AsyncOperation.replay_alert_event)
    events = iterating(AsyncOperation.events)
    audit_page = blocking(AsyncOperation.audit_page)
    audit = iterating(AsyncOperation.audit)
    pauses = blocking(AsyncOperation.pauses)
    pause = blocking(AsyncOperation.pause)
    resume = blocking(AsyncOperation.resume)
    windows = blocking(AsyncOperation.windows)
    put_window = blocking(AsyncOperation.put_window)
    remove_window = blocking(AsyncOperation.remove_window)
    limits = blocking(AsyncOperation.limits)
    put_limit = blocking(AsyncOperation.put_limit)
    remove_limit = blocking(AsyncOperation.remove_limit)
    backup = blocking(AsyncOperation.backup)
    keys = blocking(AsyncOperation.keys)
    create_key = blocking(AsyncOperation.create_key)
    revoke_key = blocking(AsyncOperation.revoke_key)
    verify_capability = blocking(AsyncOperation.verify_capability)
    record_verification = blocking(AsyncOperation.record_verification)
    check_profile = blocking(AsyncOperation.check_profile)


class Phonefarm:
    """A farm, through its gateway at *url*, with an API key; use it with `with`.

    It has the methods of AsyncPhonefarm, which wait for their results; the methods that yield are
    iterators. Threads can share it. It runs one thread of its own, so make it after a fork.
    `timeout_seconds` is for each try of a request; event streams have no limit. `tls` replaces the
    system's certificate authorities. Every method raises PhonefarmError if the request fails for
    good, and ValueError for arguments that no farm accepts.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str,
        retries: Retries | None = None,
        timeout_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._client = AsyncPhonefarm(
            url, key=key, retries=retries, timeout_seconds=timeout_seconds, tls=tls
        )
        self._thread = thread = EventLoopThread()
        self.processes = Processes(thread, self._client.processes)
        self.content = Content(thread, self._client.content)
        self.phones = Phones(thread, self._client.phones)
        self.accounts = Accounts(thread, self._client.accounts)
        self.groups = Groups(thread, self._client.groups)
        self.hosts = Hosts(thread, self._client.hosts)
        self.schedules = Schedules(thread, self._client.schedules)
        self.operation = Operation(thread, self._client.operation)
        thread.run(self._client.__aenter__())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread; a second call does nothing.

        A request that another thread has sent meanwhile raises RuntimeError there.
        """
        if not self._thread.closed:
            self._thread.run(self._client.close())
            self._thread.close()
