"""``python -m gridrl``, for where the script is not on the path."""

from gridrl.cli import main

main()
