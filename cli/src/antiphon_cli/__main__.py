"""The antiphon command's entry: Ctrl-C works from its first moment."""

import signal


def main() -> None:
    """Runs the command."""
    # Until it has started anything there is nothing to clean up, and a KeyboardInterrupt in the middle of an import may
    # be swallowed there.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from loguru import logger

    # Pipecat greets on stderr when it is imported, which this command does for its frames' format only.
    logger.disable("pipecat")
    from .command import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
