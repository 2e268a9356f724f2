"""The antiphon command's entry: Ctrl-C ends it with exit code 130 from its first moment to its last."""

import os
import signal
import sys

# As shells report a process that SIGINT ended.
INTERRUPTED = 130


def main() -> None:
    """Run the command."""
    # Until something is started there is nothing to clean up, and a KeyboardInterrupt in the middle of an import may be
    # swallowed there, or come out as an ImportError: leave at once.
    signal.signal(signal.SIGINT, _leave)
    from loguru import logger

    # Pipecat greets on stderr when it is imported, which this command does for its frames' format only.
    logger.disable("pipecat")
    from .command import main as run

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        _say_so()
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # what Typer makes of a KeyboardInterrupt
            _say_so()
        raise
    finally:
        # All that was started has been stopped: a second Ctrl-C need not wait for the interpreter's own end.
        signal.signal(signal.SIGINT, _leave)


def _leave(_signum: int, _frame: object) -> None:
    _say_so()
    os._exit(INTERRUPTED)


def _say_so() -> None:
    os.write(2, b"antiphon: interrupted\n")


if __name__ == "__main__":
    main()
