"""`python -m alexnet`."""

from alexnet.cli.main import main

main()
