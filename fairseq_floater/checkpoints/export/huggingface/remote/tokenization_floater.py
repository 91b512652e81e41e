"""The texts of a translation model that was trained with fairseq, as its numbers and back."""

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from transformers import PreTrainedTokenizer

#: what fairseq's dictionaries begin with, in this order
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")

#: how subword-nmt marks pieces that go on
GOES_ON = "@@"


class FloaterTokenizer(PreTrainedTokenizer):
    """Moses's words where the corpus had them, subwords, and the dictionaries of the training.

    Texts are of the source language, and what is decoded of the target language; with
    ``text_target`` texts are of the target language, too.

    Args:
        source_words, target_words: files of all words by their numbers, the special ones first.
        subword_model: file of sentencepiece's, or of subword-nmt's merges.
        subword: ``sentencepiece``, ``subword_nmt`` or None.
        source_lang, target_lang: codes, for Moses's rules.
        moses: whether texts are cut into words as Moses does.
        lowercase: whether texts are lower-cased first.
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
        moses: bool = False,
        lowercase: bool = False,
        **kwargs: Any,
    ):
        self.words = {"source": read_words(source_words), "target": read_words(target_words)}
        self.numbers = {side: numbered(words) for side, words in self.words.items()}
        self.languages = {"source": source_lang, "target": target_lang}
        self.files = {"source_words": source_words, "target_words": target_words}
        if subword_model is not None:
            self.files["subword_model"] = subword_model
        self.subword, self.moses, self.lowercase = subword, moses, lowercase
        self.side = "source"
        self._steps: Dict[Tuple[str, str], Any] = {}
        if subword is not None:
            self._cut = subword_cutter(subword, str(subword_model))
        kwargs |= {"subword": subword, "moses": moses, "lowercase": lowercase}
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
        if self.lowercase:
            text = text.lower()
        if self.moses:
            text = self._moses("words")(text)
        text = " ".join(text.split())
        if self.subword is None or not text:
            return text.split()
        return self._cut(text)

    def _convert_token_to_id(self, token: str) -> int:
        return self.numbers[self.side].get(token, SPECIAL.index("<unk>"))

    def _convert_id_to_token(self, index: int) -> str:
        words = self.words["target"]
        return words[index] if 0 <= index < len(words) else "<unk>"

    def convert_tokens_to_string(self, tokens: List[str]) -> str:
        text = " ".join(tokens)
        if self.subword == "sentencepiece":
            return text.replace(" ", "").replace("\u2581", " ").strip()
        if self.subword == "subword_nmt":
            text = (text + " ").replace(f"{GOES_ON} ", "").strip()
        return self._moses("text")(text) if self.moses else text

    def build_inputs_with_special_tokens(
        self, token_ids_0: List[int], token_ids_1: Optional[List[int]] = None
    ) -> List[int]:
        """fairseq ends a text, and begins none."""
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

    def _moses(self, into: str) -> Any:
        """The step into ``words`` of the side's language, or back to a ``text`` of the target's."""
        language = self.languages["target" if into == "text" else self.side]
        if (into, language) not in self._steps:
            self._steps[into, language] = moses_step(into, language)
        return self._steps[into, language]

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_steps": {}}


def read_words(path: str) -> List[str]:
    """All words of a dictionary by their numbers."""
    return list(json.loads(Path(path).read_text("utf-8")))


def numbered(words: List[str]) -> Dict[str, int]:
    return {word: number for number, word in reversed(list(enumerate(words)))}


def subword_cutter(subword: str, path: str) -> Any:
    """A function from text to pieces, of the library that made the model."""
    if subword == "sentencepiece":
        import sentencepiece

        model = sentencepiece.SentencePieceProcessor(model_file=path)
        return lambda text: model.encode(text, out_type=str)
    from subword_nmt.apply_bpe import BPE

    with open(path, encoding="utf-8") as file:
        merges = BPE(file, separator=GOES_ON)
    return lambda text: merges.segment_tokens(text.split())


def moses_step(into: str, language: str) -> Any:
    import sacremoses

    if into == "text":
        back = sacremoses.MosesDetokenizer(language)
        return lambda text: back.detokenize(text.split())
    normaliser = sacremoses.MosesPunctNormalizer(language, perl_parity=True)
    words = sacremoses.MosesTokenizer(language)
    return lambda text: words.tokenize(normaliser.normalize(text), return_str=True)


FloaterTokenizer.register_for_auto_class("AutoTokenizer")
