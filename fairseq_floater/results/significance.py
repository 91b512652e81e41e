"""Is a system's score different from the baseline's? sacreBLEU's paired tests.

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
    """p-values of every system against the baseline.

    Args:
        baseline: its translations, detokenised.
        systems: (name, translations) of the others.
        references: as many.
        lowercase: whether scores ignore case.

    Returns:
        Name of the system to name of the test (``TESTS``) to name of the metric to p.
    """
    progress = Progress("significance: row", len(systems))
    result: Dict[str, Dict[str, Dict[str, float]]] = {}
    for done, (name, given) in enumerate(systems):
        progress.reached(done)
        result[name] = {
            test: _compared(code, baseline, given, references, lowercase)
            for test, code in TESTS.items()
        }
    return result


def _compared(
    code: str,
    baseline: Sequence[str],
    given: Sequence[str],
    references: Sequence[str],
    lowercase: bool,
) -> Dict[str, float]:
    """p of one test for each metric."""
    # sacreBLEU counts what is larger only, and the same text would have the least p.
    if list(given) == list(baseline):
        return dict.fromkeys(METRICS, 1.0)
    named = [("baseline", list(baseline)), ("system", list(given))]
    # The metrics cache references, hence new ones for each test.
    _, scores = PairedTest(named, metrics(lowercase), [list(references)], code)()
    return {metric: float(scores[metric][1].p_value) for metric in METRICS}
