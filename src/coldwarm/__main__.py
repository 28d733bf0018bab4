"""`python -m coldwarm`."""

from coldwarm.cli.main import main

if __name__ == "__main__":
    main()
