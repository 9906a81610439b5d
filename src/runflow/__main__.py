"""`python -m runflow`: the same as the command `runflow`."""

from runflow.cli import main

main()
