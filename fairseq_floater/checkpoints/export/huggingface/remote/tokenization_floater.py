"""Turn texts into the numbers of a translation model trained with fairseq, and back."""

import functools
import importlib
import json
import unicodedata
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from transformers import PreTrainedTokenizer

#: what fairseq's dictionaries begin with, in this order
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")

#: how subword-nmt marks pieces that do not end a word
GOES_ON = "@@"


class FloaterTokenizer(PreTrainedTokenizer):
    """Uses Moses's words if the corpus had them, subwords, and the dictionaries of the training.

    Texts are in the source language, and what is decoded is in the target language; with
    ``text_target``, texts are in the target language, too.

    Args:
        source_words, target_words: files of all words by their numbers, the special ones first.
        subword_model: the model file of sentencepiece, or the merges of subword-nmt.
        subword: ``sentencepiece``, ``subword_nmt`` or None.
        source_lang, target_lang: language codes, for Moses's rules.
        steps: what is done to a text first, in this order: ``lowercase`` and, as Moses does,
            ``normalise``, ``remove-non-printing``, ``tokenise`` and ``tokenise-aggressive``.
    """

    vocab_files_names = {
        "source_words": "source_words.json",
        "target_words": "target_words.json",
        "subword_model": "subwords.model",
    }
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self,
        source_words: str,
        target_words: str,
        subword_model: Optional[str] = None,
        subword: Optional[str] = None,
        source_lang: str = "en",
        target_lang: str = "en",
        steps: Sequence[str] = (),
        **kwargs: Any,
    ):
        self.words = {"source": read_words(source_words), "target": read_words(target_words)}
        self.numbers = {side: numbered(words) for side, words in self.words.items()}
        self.languages = {"source": source_lang, "target": target_lang}
        self.files = {"source_words": source_words, "target_words": target_words}
        if subword_model is not None:
            self.files["subword_model"] = subword_model
        self.subword, self.steps, self.side = subword, list(steps), "source"
        self._made: Dict[Tuple[str, str], Callable[[str], Any]] = {}
        kwargs |= {"subword": subword, "steps": self.steps}
        kwargs.setdefault("split_special_tokens", True)  # a text that says </s> does not end there
        kwargs |= {"source_lang": source_lang, "target_lang": target_lang}
        bos, pad, eos, unk = SPECIAL
        for name, piece in (("bos", bos), ("pad", pad), ("eos", eos), ("unk", unk)):
            kwargs.setdefault(f"{name}_token", piece)
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        return len(self.words["target"])

    def get_vocab(self) -> Dict[str, int]:
        return dict(self.numbers[self.side])

    def _switch_to_input_mode(self) -> None:
        self.side = "source"

    def _switch_to_target_mode(self) -> None:
        self.side = "target"

    def _tokenize(self, text: str, **kwargs: Any) -> List[str]:
        for name in self.steps:
            text = self._step(name, self.languages[self.side])(text)
        text = " ".join(text.split())
        if self.subword is None or not text:
            return text.split()
        return list(self._step(self.subword, self.files["subword_model"])(text))

    def _convert_token_to_id(self, token: str) -> int:
        return self.numbers[self.side].get(token, SPECIAL.index("<unk>"))

    def _convert_id_to_token(self, index: int) -> str:
        words = self.words["target"]
        return words[index] if 0 <= index < len(words) else "<unk>"

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """As in transformers, but an unknown word is not skipped, since fairseq writes it."""
        if skip_special_tokens and not isinstance(ids, int):
            ids = [int(n) for n in ids if int(n) not in range(SPECIAL.index("<unk>"))]
        return super().convert_ids_to_tokens(ids)

    def convert_tokens_to_string(self, tokens: List[str]) -> str:
        text = " ".join(tokens)
        if self.subword == "sentencepiece":
            text = text.replace(" ", "").replace("\u2581", " ").strip()
        if self.subword == "subword_nmt":
            text = (text + " ").replace(f"{GOES_ON} ", "").strip()
        if any(name.startswith("tokenise") for name in self.steps):
            text = self._step("detokenise", self.languages["target"])(text)
        return text

    def build_inputs_with_special_tokens(
        self, token_ids_0: List[int], token_ids_1: Optional[List[int]] = None
    ) -> List[int]:
        """Mark the end of a text but not its beginning, as fairseq does."""
        return [*token_ids_0, *(token_ids_1 or ()), SPECIAL.index("</s>")]

    def get_special_tokens_mask(
        self,
        token_ids_0: List[int],
        token_ids_1: Optional[List[int]] = None,
        already_has_special_tokens: bool = False,
    ) -> List[int]:
        if already_has_special_tokens:
            return [int(number < len(SPECIAL)) for number in token_ids_0]
        return [0] * (len(token_ids_0) + len(token_ids_1 or ())) + [1]

    def save_vocabulary(
        self, save_directory: str, filename_prefix: Optional[str] = None
    ) -> Tuple[str, ...]:
        written = []
        for name, path in self.files.items():
            prefix = f"{filename_prefix}-" if filename_prefix else ""
            to = Path(save_directory, prefix + self.vocab_files_names[name])
            if to.resolve() != Path(path).resolve():
                to.write_bytes(Path(path).read_bytes())
            written.append(str(to))
        return tuple(written)

    def _step(self, name: str, of: str) -> Callable[[str], Any]:
        """Return the function of a step, for a language or a file of subwords; it is made once."""
        if (name, of) not in self._made:
            self._made[name, of] = MAKERS[name](of)
        return self._made[name, of]

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_made": {}}  # made again in another process


def read_words(path: str) -> List[str]:
    """Return all words of a dictionary by their numbers."""
    return list(json.loads(Path(path).read_text("utf-8")))


def numbered(words: List[str]) -> Dict[str, int]:
    return {word: number for number, word in reversed(list(enumerate(words)))}


def library(name: str) -> Any:
    """Import a library that only some corpora need: loading a model does not ask for it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("_", "-")
        raise ImportError(f"the texts of this model need {name}: pip install {package}") from error


def sentencepiece(path: str) -> Callable[[str], List[str]]:
    """Return a function from a text to its pieces."""
    model = library("sentencepiece").SentencePieceProcessor(model_file=path)
    return lambda text: list(model.encode(text, out_type=str))


def subword_nmt(path: str) -> Callable[[str], List[str]]:
    """Return a function from words to their pieces."""
    with open(path, encoding="utf-8") as file:
        merges = library("subword_nmt.apply_bpe").BPE(file, separator=GOES_ON)
    return lambda text: list(merges.segment_tokens(text.split()))


def normalise(language: str) -> Callable[[str], str]:
    normaliser = library("sacremoses").MosesPunctNormalizer(language, perl_parity=True)
    return lambda text: str(normaliser.normalize(text))


def tokenise(language: str, aggressive: bool = False) -> Callable[[str], str]:
    words = library("sacremoses").MosesTokenizer(language)
    return lambda text: str(
        words.tokenize(text, aggressive_dash_splits=aggressive, return_str=True)
    )


def detokenise(language: str) -> Callable[[str], str]:
    text_of = library("sacremoses").MosesDetokenizer(language)
    return lambda text: str(text_of.detokenize(text.split()))


def lowercase(text: str) -> str:
    """Lowercase each character by itself, as Perl does, which knows no final sigma."""
    return text.replace("\u03a3", "\u03c3").lower()


def printable(text: str) -> str:
    return "".join(" " if unicodedata.category(c)[0] == "C" else c for c in text)


#: what makes the function of each step, for a language or a file of subwords
MAKERS: Dict[str, Callable[[str], Callable[[str], Any]]] = {
    "lowercase": lambda language: lowercase,
    "normalise": normalise,
    "remove-non-printing": lambda language: printable,
    "tokenise": tokenise,
    "tokenise-aggressive": functools.partial(tokenise, aggressive=True),
    "detokenise": detokenise,
    "sentencepiece": sentencepiece,
    "subword_nmt": subword_nmt,
}

FloaterTokenizer.register_for_auto_class("AutoTokenizer")
