"""A golden job: the phone takes keys and shows its screen. It opens no app and changes nothing."""

from phonefarm_controller.model.plans import Action, Plan


def plan() -> Plan:
    """Return the plan: awake and at home, the screen read and kept as a picture."""
    return Plan(
        actions=(
            Action(kind="press_key", params={"key": "WAKEUP"}),
            Action(kind="press_key", params={"key": "HOME"}),
            Action(kind="ui_dump", params={"name": "golden"}),
            Action(kind="screenshot", params={"name": "golden"}),
        )
    )
