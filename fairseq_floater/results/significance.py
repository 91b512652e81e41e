"""Is a system's score different from the baseline's? sacreBLEU's paired tests.

Paired bootstrap resampling (Koehn 2004) and paired approximate randomisation (Riezler and Maxwell
2005), each with sacreBLEU's own number of samples and seed.
"""

from typing import Dict, Sequence, Tuple

from sacrebleu.significance import PairedTest

from fairseq_floater.results.scores import metrics

TESTS = {"bootstrap": "bs", "randomisation": "ar"}


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
    result: Dict[str, Dict[str, Dict[str, float]]] = {name: {} for name, _ in systems}
    for test, code in TESTS.items() if systems else ():
        # The metrics cache references, hence new ones for each test.
        named = [("baseline", list(baseline)), *[(n, list(h)) for n, h in systems]]
        compare = PairedTest(named, metrics(lowercase), [list(references)], code)
        _, scores = compare()
        for metric in ("BLEU", "chrF2"):
            for (name, given), outcome in zip(systems, scores[metric][1:]):
                # sacreBLEU counts what is larger only, and the same text would have the least p.
                p = 1.0 if list(given) == list(baseline) else float(outcome.p_value)
                result[name].setdefault(test, {})[metric] = p
    return result
