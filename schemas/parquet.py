"""The one way in which Parquet files are opened: a bit that flipped in a page is an error, not another value."""

from typing import Any

import pyarrow.parquet as pq


def opened(source: Any, **options: Any) -> pq.ParquetFile:
    """Returns a Parquet file, opened from a path, an open file or a buffer; `options` are Arrow's.

    Reading raises OSError where a page is not what its checksum says. Pages without checksums are read as they are.
    """
    return pq.ParquetFile(source, page_checksum_verification=True, **options)
