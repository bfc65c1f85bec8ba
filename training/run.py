"""`python training/run.py`: train a network, the same as `alexnet train`.

With several processes: `torchrun --nproc-per-node N training/run.py ...`, see docs/training.md.
"""

from alexnet.cli.train import main

if __name__ == "__main__":
    main()
