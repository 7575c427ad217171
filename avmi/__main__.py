"""`python -m avmi …` is `avmi …`; `accelerate launch -m avmi pretrain …` comes in here too."""

from avmi.cli import main

main()
