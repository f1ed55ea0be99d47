"""``python -m losslessnn``: the command line."""

from losslessnn.cli import main

if __name__ == "__main__":
    main()
