"""Compute BLEU and chrF as papers report them, by sacreBLEU (Post 2018), also by source length."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence

from sacrebleu.metrics import BLEU, CHRF
from sacremoses import MosesDetokenizer

from fairseq_floater.errors import UserError
from fairseq_floater.results.generation import Translation
from fairseq_floater.results.lengths import Bins


@dataclass(frozen=True)
class EvaluationSet:
    """One test set; all lists have the same number of lines.

    ``tokenised`` is what tokenised BLEU compares with; None if the corpus has no tokens.

    Raises:
        UserError: if the numbers of lines differ.
    """

    source: List[str]  #: raw text
    reference: List[str]  #: raw text
    tokenised: Optional[List[str]]
    language: str  #: of the target
    lowercase: bool
    separator: Optional[str] = None  #: between the sentences of a document, in translations

    def __post_init__(self) -> None:
        tokenised = self.reference if self.tokenised is None else self.tokenised
        sizes = [len(lines) for lines in (self.source, self.reference, tokenised)]
        if len(set(sizes)) > 1:
            source, reference, tokens = sizes
            raise UserError(
                f"a test set has {source} sources, {reference} references and {tokens} lines of "
                "tokens: prepare the corpus again"
            )


def score(
    translations: Sequence[Translation],
    test: EvaluationSet,
    sorted_by: Sequence[Bins] = (),
    compound_split: bool = False,
) -> Dict[str, Any]:
    """Return all scores of one test set.

    Args:
        translations: one per sentence.
        test: the test set.
        sorted_by: bins by length that are scored as well.
        compound_split: also compute tokenised BLEU with compounds split.

    Raises:
        UserError: if the numbers of sentences differ.
    """
    if len(translations) != len(test.reference):
        raise UserError(
            f"{len(translations)} translations for {len(test.reference)} references: "
            "generate again on this corpus"
        )
    for bins in sorted_by:
        if len(bins.lengths) != len(test.reference):
            raise UserError(
                f"the lengths in {bins.unit} are those of {len(bins.lengths)} sentences, but there "
                f"are {len(test.reference)} references: prepare the corpus again"
            )
    hypotheses = detokenise(translations, test)
    result = _measure(hypotheses, translations, test, range(len(hypotheses)))
    if test.tokenised is not None:
        tokens = [t.text for t in translations]
        result["bleu_tokenised"] = tokenised_bleu(tokens, test.tokenised)
        if compound_split:
            result["bleu_compound_split"] = tokenised_bleu(
                split_compounds(tokens), split_compounds(test.tokenised)
            )
    result["bins"] = [
        {bins.unit: name, **_measure(hypotheses, translations, test, chosen)}
        for bins in sorted_by
        for name, chosen in bins
    ]
    result["hypotheses"] = hypotheses
    result["references"] = digest(test.reference)
    return result


def digest(lines: Sequence[str]) -> str:
    """Return a digest that tells references from others."""
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def detokenise(translations: Sequence[Translation], test: EvaluationSet) -> List[str]:
    """Return plain text; a corpus without tokens is plain text already."""
    if test.tokenised is None:
        return [without_separator(t.text, test.separator) for t in translations]
    moses = MosesDetokenizer(lang=test.language)
    return [moses.detokenize(t.text.split()) for t in translations]


def without_separator(line: str, separator: Optional[str]) -> str:
    """Return a document as running text."""
    return line if separator is None else " ".join(line.replace(separator, " ").split())


def metrics(lowercase: bool) -> Dict[str, Any]:
    """Return sacreBLEU's metrics by our names; a lower-cased corpus is scored in lower case."""
    return {"bleu": BLEU(lowercase=lowercase), "chrf": CHRF(lowercase=lowercase)}


def signatures(lowercase: bool) -> Dict[str, str]:
    """Return sacreBLEU's signatures by our names for the metrics."""
    result = {}
    for name, metric in metrics(lowercase).items():
        metric.corpus_score(["x"], [["x"]])  # a signature counts the references
        result[name] = str(metric.get_signature())
    return result


def tokenised_bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return BLEU over the corpus's own tokens, which is not comparable between tokenisations."""
    metric = BLEU(tokenize="none", force=True, smooth_method="none")
    return metric.corpus_score(list(hypotheses), [list(references)]).score


def split_compounds(lines: Sequence[str]) -> List[str]:
    """Set hyphens apart (``a-b`` to ``a ##AT##-##AT## b``), as Vaswani et al. (2017) scored.

    It raises BLEU, and is only for figures to be compared with theirs and the paper's table 2.
    """
    return [re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", line) for line in lines]


def _measure(
    hypotheses: Sequence[str],
    translations: Sequence[Translation],
    test: EvaluationSet,
    chosen: Sequence[int],
) -> Dict[str, Any]:
    if not chosen:
        return {"sentences": 0}
    output = [hypotheses[i] for i in chosen]
    reference = [[test.reference[i] for i in chosen]]
    scored = {k: m.corpus_score(output, reference) for k, m in metrics(test.lowercase).items()}
    bleu = scored["bleu"]
    ratio = {"length_ratio": bleu.sys_len / bleu.ref_len} if bleu.ref_len else {}
    return {
        "sentences": len(chosen),
        **{name: result.score for name, result in scored.items()},
        **ratio,
        "ended": sum(translations[i].ended for i in chosen) / len(chosen),
    }
