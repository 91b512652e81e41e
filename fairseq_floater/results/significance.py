"""Test whether a system's score differs from the baseline's, with sacreBLEU's paired tests.

Paired bootstrap resampling (Koehn 2004) and paired approximate randomisation (Riezler and Maxwell
2005), each with sacreBLEU's own number of samples and seed.
"""

from typing import Dict, Sequence, Tuple

from sacrebleu.significance import PairedTest

from fairseq_floater.progress import Progress
from fairseq_floater.results.scores import metrics

TESTS = {"bootstrap": "bs", "randomisation": "ar"}
METRICS = ("BLEU", "chrF2")


def p_values(
    baseline: Sequence[str],
    systems: Sequence[Tuple[str, Sequence[str]]],
    references: Sequence[str],
    lowercase: bool,
) -> Dict[str, Dict[str, Dict[str, float]]]:
    """Return p-values of every system against the baseline.

    Args:
        baseline: the translations of the baseline, detokenised.
        systems: (name, translations) of the others.
        references: as many as translations.
        lowercase: whether scores ignore case.

    Returns:
        Name of the system to name of the test (``TESTS``) to name of the metric to p.
    """
    # sacreBLEU counts only what is larger, so the same text would have the least p.
    result = {name: {test: dict.fromkeys(METRICS, 1.0) for test in TESTS} for name, _ in systems}
    others = [(name, list(given)) for name, given in systems if list(given) != list(baseline)]
    progress = Progress("significance: test", len(TESTS))
    for done, (test, code) in enumerate(TESTS.items() if others else ()):
        progress.reached(done)
        # The metrics cache references, so each test gets new ones.
        named = [("baseline", list(baseline)), *others]
        _, scores = PairedTest(named, metrics(lowercase), [list(references)], code)()
        for metric in METRICS:
            for (name, _), outcome in zip(others, scores[metric][1:]):
                result[name][test][metric] = float(outcome.p_value)
    return result
