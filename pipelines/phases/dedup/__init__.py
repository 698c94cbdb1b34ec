"""The dedup phase: which rows belong together, over all sources.

Reads work/signals, writes work/clusters; keeps nobody and drops nobody. Four kinds, from fine to
coarse: `repeat` (equal key), `exact` (equal bytes), `pixels` (equal decoded picture), `phash` (64-bit
hashes within a Hamming distance of a cluster's centre).

What travels is values, not rows: a shard tells each value once, with its smallest key, how many rows
have it and which is the first; what comes back to the shard is the cluster of that value. So a
million blank pictures are one value a shard, and no process holds anything in proportion to the rows
of the corpus.

    values   shuffle by value: clusters of equal values; the distinct perceptual hashes
    agree    only where pictures of equal bytes or pixels were told to differ: settle on one
    near     pairs of hashes within the distance -> components -> stars
    members  shuffle by shard: one file of memberships for every file of signals
"""

from pipelines.phases.dedup.driver import dedup
from pipelines.phases.dedup.plan import DedupPlan, partitions_for

__all__ = ["DedupPlan", "dedup", "partitions_for"]
