"""A small HTTP service for an exported translation model, with a page to try it on.

    pip install 'fairseq-floater[serve]'
    floater export --to huggingface checkpoint_best.pt translator --data runs/data/bible.en-es
    MODEL=translator uvicorn --app-dir examples/serve app:app

POST /translate takes {"text": "..."} and returns the translation, the subwords of both sides, and
how much each target subword attended to each source subword. Requests that come at the same time
are translated in one batch. A request without a valid text gets a 4xx status and one line that says
why.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Dict, List

import torch
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

#: the longest text, in characters, and the longest translation, in subwords
MOST_CHARACTERS, MOST_SUBWORDS = 5000, 400
#: how many texts a batch has at most, and how long the first of them waits for others, in seconds
BATCH, PATIENCE = 16, 0.02

PAGE = (Path(__file__).parent / "page.html").read_text("utf-8")


class Asked(BaseModel):
    """The content of a request."""

    text: str


class Translator:
    """Translates batches, one at a time."""

    def __init__(self, folder: str):
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).eval()
        longest = self.model.config.max_position_embeddings  # the length of a table of positions
        self.most_subwords = min(MOST_SUBWORDS, longest or MOST_SUBWORDS)
        self.waiting: asyncio.Queue[Any] = asyncio.Queue()

    async def translate(self, text: str) -> Dict[str, Any]:
        """Return the translation of one text, once the batch that contains it is done."""
        done: asyncio.Future[Dict[str, Any]] = asyncio.get_running_loop().create_future()
        await self.waiting.put((text, done))
        return await done

    async def serve(self) -> None:
        """Take texts out of the queue, batch by batch, for as long as the service runs."""
        while True:
            taken = [await self.waiting.get()]
            await asyncio.sleep(PATIENCE)
            while len(taken) < BATCH and not self.waiting.empty():
                taken.append(self.waiting.get_nowait())
            found = await asyncio.to_thread(self.each_or_why_not, [text for text, _ in taken])
            for (_, done), answer in zip(taken, found):
                if done.cancelled():
                    continue
                if isinstance(answer, Exception):
                    done.set_exception(answer)
                else:
                    done.set_result(answer)

    def each_or_why_not(self, texts: List[str]) -> List[Any]:
        """Return translations, with an exception in place of each text that fails by itself."""
        try:
            return list(self.batch(texts))
        except Exception as error:
            if len(texts) == 1:
                return [error]
        return [answer for text in texts for answer in self.each_or_why_not([text])]

    @torch.inference_mode()
    def batch(self, texts: List[str]) -> List[Dict[str, Any]]:
        """Return the translations of texts, made in one pass."""
        given = self.tokenizer(texts, return_tensors="pt", padding=True)
        written = self.model.generate(**given, num_beams=4, max_new_tokens=self.most_subwords)
        before = written[:, :-1]  # each word was chosen by the one before it
        mask = before.ne(self.tokenizer.pad_token_id).long()
        weights = self.model(
            **given, decoder_input_ids=before, decoder_attention_mask=mask, output_attentions=True
        ).cross_attentions
        attention = torch.stack(weights).mean(dim=(0, 2))  # (batch, target, source)
        return [
            self._answer(row, source, length, weights)
            for row, source, length, weights in zip(
                written, given["input_ids"], given["attention_mask"].sum(dim=1), attention
            )
        ]

    def _answer(
        self, row: torch.Tensor, source: torch.Tensor, length: torch.Tensor, weights: torch.Tensor
    ) -> Dict[str, Any]:
        """Return the answer for one text, without end symbols and the start of the translation."""
        special = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        kept = [place for place, token in enumerate(row.tolist()) if token not in special]
        words = self.tokenizer.words["source"]
        shown = int(length) - 1
        return {
            "translation": self.tokenizer.decode(row, skip_special_tokens=True),
            "source": [words[token] for token in source.tolist()[:shown]],
            "target": self.tokenizer.convert_ids_to_tokens([int(row[place]) for place in kept]),
            # A word is chosen at the position where the previous one is read.
            "attention": [
                [round(value, 4) for value in weights[place - 1, :shown].tolist()] for place in kept
            ],
        }


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.translator = Translator(os.environ["MODEL"])
    serving = asyncio.create_task(app.state.translator.serve())
    yield
    serving.cancel()


app = FastAPI(title="fairseq-floater", lifespan=lifespan)


def refused(status: int, line: str) -> JSONResponse:
    return JSONResponse({"error": line}, status_code=status)


@app.exception_handler(RequestValidationError)
async def wrong_request(request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer with one line instead of FastAPI's list."""
    return refused(422, 'send {"text": "..."} as JSON, where text is a string')


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


@app.post("/translate", response_model=None)
async def translate(asked: Asked, request: Request) -> Any:
    if not asked.text.strip():
        return refused(400, "text is empty: send something to translate")
    if len(asked.text) > MOST_CHARACTERS:
        return refused(
            413, f"text has {len(asked.text):,} characters: send {MOST_CHARACTERS:,} at most"
        )
    try:
        asked.text.encode("utf-8")
    except UnicodeEncodeError:
        return refused(400, "text has half a character (a lone surrogate): send whole ones")
    try:
        return await request.app.state.translator.translate(asked.text)
    except ValueError as error:  # the text is too long for the model's positions
        return refused(413, str(error))
