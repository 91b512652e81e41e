"""From what fairseq printed to tables and pictures: scores, significance, cost.

``generation`` and ``training`` read fairseq's logs, ``scores`` computes, ``record`` holds what is
known of one run as JSON, ``report`` and ``picture`` show a folder of them.
"""

from fairseq_floater.results.record import Record, read_records

__all__ = ["Record", "read_records"]
