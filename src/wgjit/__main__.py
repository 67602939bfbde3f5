"""`python -m wgjit` is the command `wgjit`."""

from wgjit.cli import main

main()
