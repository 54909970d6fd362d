"""`python -m worker` is `codingit-worker`."""

import signal


def main() -> None:
    """Run the command line; Ctrl-C ends us without a word already while its modules are imported."""
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from worker.cli import main as typed

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    typed()


if __name__ == "__main__":
    main()
