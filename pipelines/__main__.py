"""`python -m pipelines` is `vlcorpus`."""

from pipelines.cli import main

main()
