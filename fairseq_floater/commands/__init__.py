"""The commands of ``floater``, a module each: SUMMARY, ``add_arguments`` and ``run``."""
