"""How an agent cleans a phone after each run: the policy of the phone's groups."""

from collections.abc import Iterable, Mapping

from phonefarm_common.wire_enums import EVERY_CLEANUP_STEP, CleanupStep


def wanted(
    groups: Iterable[str], policies: Mapping[str, frozenset[CleanupStep]]
) -> frozenset[CleanupStep]:
    """Return the steps for a phone in these groups: all that any of them wants.

    A group without a policy says nothing; without any policy every step is done.
    """
    told = [policies[group] for group in groups if group in policies]
    return frozenset().union(*told) if told else EVERY_CLEANUP_STEP
