"""Turn what fairseq printed into tables and pictures: scores, significance, cost.

``generation`` and ``training`` read fairseq's logs, ``scores`` computes, ``record`` holds what is
known about one run as JSON, and ``report`` and ``picture`` show a folder of records.
"""

from fairseq_floater.results.record import Record, read_records

__all__ = ["Record", "read_records"]
