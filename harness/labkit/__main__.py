"""The lab's commands. The doors harness/lab and harness/lab.cmd come here."""

import argparse
import signal
import subprocess
import sys

HELP = """\
run [STAGE ...]            set up what is missing, build, run the stages on real input, show what they print
build                      build every program and every unit
test [PYTEST ...]          build, run the units and all checks; arguments go to pytest
grade DIR|FILE --stage N   build and judge every program of a folder, or one; --json F, --junitxml F, --only CHECK
prove [ID ...]             bring each erratum back, and see the grader reject it for that reason
trace STAGE ...|DIR        run once and draw who owned what, when; DIR with --stage N
bench                      the server and the reader beside their peers: rates, times, memory; --help tells more
doctor                     what is installed, what is missing, the one command that mends it
exec PROGRAM [ARG ...]     run one Windows program the way the lab does

A STAGE is a number, a folder or a program: 4, 04_iocp_files, four_reads.

Exit codes: 0 everything asked for ran and passed; 1 a verdict against a program; 2 the lab could not do its job."""


COMMANDS = ("run", "build", "test", "grade", "prove", "trace", "bench", "doctor", "exec")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="lab", usage="lab COMMAND ...", epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    if not words:
        parser.print_help()
        return 2
    options = parser.parse_args(words)

    if options.command == "doctor":  # needs nothing but Python: anything else may be what is missing
        from labkit import components

        return components.doctor()

    # Ended from outside, the lab still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))

    from labkit import commands, ui
    from labkit.errors import BuildFailed, HarnessError

    try:
        command = getattr(commands, f"{options.command}_command")
        return int(command(options.arguments))
    except BuildFailed as error:
        print(error)
        ui.say("lab: it does not compile: what the compiler said stands above")
        return 1
    except (HarnessError, subprocess.SubprocessError, OSError) as error:
        ui.say(f"lab: {error}")
        return 2
    except KeyboardInterrupt:
        ui.say("lab: interrupted")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
