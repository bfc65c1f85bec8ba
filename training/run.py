"""`python training/run.py`: train a network, the same as `alexnet train`.

With several processes: `torchrun --nproc-per-node N training/run.py ...`, see docs/training.md.
"""

import sys

try:
    from alexnet.installation import exit_if_damaged
except ModuleNotFoundError:
    sys.exit("error: alexnet-server isn't installed: run pip install -e '.[train]' in the folder of its clone")

if __name__ == "__main__":
    exit_if_damaged()
    from alexnet.cli.train import main

    main()
