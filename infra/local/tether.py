"""Runs a command that dies with its parent: `python tether.py [--signal N] [--user NAME] -- COMMAND ...`.

A crash of the supervisor must not leave servers behind. The kernel's parent-death signal does that, but it is
cleared by a change of user, so the order here is: user, then signal, then exec. It is a program of its own and not
a `preexec_fn`, which may deadlock in a process with threads.

The signal is sent when the parent's *thread* that started the child ends: start children from a thread that stays.
"""

import argparse
import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    parser = argparse.ArgumentParser(prog="tether")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, default=signal.SIGKILL)
    parser.add_argument("--user")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.user:
        account = pwd.getpwnam(options.user)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, options.signal)
    if os.getppid() != options.parent:  # it ended before the signal was set
        sys.exit(1)
    os.execvp(options.command[0], options.command)  # noqa: S606


if __name__ == "__main__":
    main()
