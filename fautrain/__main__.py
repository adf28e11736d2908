"""`python -m fautrain`, also under `torchrun` and `accelerate launch`."""

from fautrain.cli import main

if __name__ == "__main__":
    main()
