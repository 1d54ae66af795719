"""`python -m crosschat`: the same program as the `crosschat` command."""

from crosschat.cli.main import main

if __name__ == "__main__":
    main()
