"""Turn what fairseq printed into tables and pictures: scores, significance, cost.

``generation`` and ``training`` read fairseq's logs, ``scores`` and ``lengths`` compute, and ``run``
writes what is known of one run as a ``record``. ``report``, ``summary``, ``losses`` and
``hypotheses`` make pages of these, with ``page`` and ``picture``; ``significance`` tests over
sentences, ``over_seeds`` over trainings.
"""
