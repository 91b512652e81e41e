"""The commands of ``floater``, one module each: SUMMARY, ``add_arguments`` and ``run``."""
