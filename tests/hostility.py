"""The number of cases of damaged or lying input that the tests in tests/hostile make.

pytest tests/hostile              # the same few cases at every run
pytest tests/hostile --hostile N  # N cases for every test, new ones at every run
"""

#: the number given by ``--hostile``, if any
wanted = None


def cases(number):
    """Return a decorator to go with hypothesis's ``given``: ``number`` cases, or ``wanted``."""
    from hypothesis import HealthCheck, Phase, settings  # only where such tests run

    return settings(
        max_examples=wanted or number,
        derandomize=wanted is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
