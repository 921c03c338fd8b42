"""`python -m lapsi` is the command line."""

from lapsi.cli.main import main

if __name__ == "__main__":
    main()
