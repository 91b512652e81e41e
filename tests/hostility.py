"""How many cases the tests in tests/hostile make of what is damaged or lies.

pytest tests/hostile              # the same few at every run
pytest tests/hostile --hostile N  # N for every test, others at every run
"""

#: as given by ``--hostile``
wanted = None


def cases(number):
    """A decorator beside hypothesis's ``given``: ``number`` cases, or as many as are wanted."""
    from hypothesis import HealthCheck, Phase, settings  # not where no such test is run

    return settings(
        max_examples=wanted or number,
        derandomize=wanted is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
