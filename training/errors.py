"""What the command line turns into an exit code, each with one sentence for the user.

ToolkitError
├── UnusableInput   exit 2: an argument, a file or a network that cannot be used
├── AnswerIsNo      exit 1: the work was done and its answer is no (parity failed, …)
├── WorkerLost      exit 1: one of several processes ended; the last checkpoint stands
└── Interrupted     exit 130: stopped by the user; what was reached is saved
"""


class ToolkitError(Exception):
    """The root: catch this to catch all that the toolkit says itself."""

    exit_code = 1


class UnusableInput(ToolkitError):
    """What was expected, what came, and where."""

    exit_code = 2


class AnswerIsNo(ToolkitError):
    """A check that was asked for failed; nothing was written."""

    exit_code = 1


class WorkerLost(ToolkitError):
    """One of the processes that trained together has ended before its time."""

    exit_code = 1


class Interrupted(ToolkitError):
    """The user stopped the work; the message tells how to go on."""

    exit_code = 130
