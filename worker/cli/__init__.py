"""The command line: `codingit-worker`, same as `python -m worker`."""


def main() -> None:
    """Run the command that was typed."""
