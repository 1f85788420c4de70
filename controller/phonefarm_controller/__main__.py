"""Run the controller: `python -m phonefarm_controller`."""

from phonefarm_controller.cli import main

main()
