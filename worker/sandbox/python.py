"""The Python that programs of ours run on inside a sandbox, with the standard library and nothing else."""

import sys
from pathlib import Path

INTERPRETER = str(Path(sys.executable).resolve())
"""Not a virtual environment's: that is not to be seen there."""
ISOLATED = (INTERPRETER, "-I", "-S")
READS = () if Path(sys.base_prefix).is_relative_to("/usr") else (Path(sys.base_prefix),)
"""What a command must name as its `reads` to run it."""
