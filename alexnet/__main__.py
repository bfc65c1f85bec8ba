"""`python -m alexnet`."""

from alexnet.cli.app import main

main()
