"""`python -m facecorpus`."""

from facecorpus.cli import main

if __name__ == "__main__":
    main()
