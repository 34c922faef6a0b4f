"""`python -m pipeline` is `talkwire`."""

from pipeline.cli import main

main()
