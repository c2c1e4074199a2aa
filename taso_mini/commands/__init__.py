"""The commands that make, check, prune, compare and show substitutions, listed in `COMMANDS`.

Mistakes are raised as ValueError or OSError, for the command line to tell in one sentence.
"""

from runtime.command_line import Command
from taso_mini.commands.axioms import AXIOMS_COMMAND
from taso_mini.commands.cover import COVER
from taso_mini.commands.generate import GENERATE, SHIPPED_SEED
from taso_mini.commands.prune import PRUNE
from taso_mini.commands.rule_files import read_rules
from taso_mini.commands.rules import RULES
from taso_mini.commands.verify import VERIFY

COMMANDS = (GENERATE, VERIFY, PRUNE, RULES, COVER, AXIOMS_COMMAND)

__all__ = ["COMMANDS", "SHIPPED_SEED", "Command", "read_rules"]
