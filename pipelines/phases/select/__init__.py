"""Phase select: the recipe's thresholds over the signals; then one keeper a cluster; then the split.

contest  shuffle by cluster, once for repeats and once for pictures: who loses to a better duplicate
decide   map: one decision for every row of every shard
"""

from pipelines.phases.select.driver import select

__all__ = ["select"]
