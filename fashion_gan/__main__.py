"""`python -m fashion_gan COMMAND …`, for processes that this package starts."""

from fashion_gan.cli import main

main()
