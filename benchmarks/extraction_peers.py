"""How others get the same vectors: the way of the paper's code, and that of sentence-transformers' users."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["Peers"]

_BATCH = 32
_PADDED = 128


class Peers:
    """The other ways, with models that are loaded already; nothing is written to disk.

    Parameters
    ----------
    text, image : str
        Folders of the models.
    manifest : str
        The data.
    threads : int
        Of torch.
    """

    def __init__(self, text: str, image: str, manifest: str, threads: int) -> None:
        import torch
        import transformers as t

        torch.set_num_threads(threads)
        with Path(manifest).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self._captions = [row["caption"] for row in rows]
        self._paths = [Path(manifest).parent / row["image"] for row in rows]
        self._text_folder = text
        self._tokenizer = t.AutoTokenizer.from_pretrained(text)
        self._text: Any = t.BertModel.from_pretrained(text, dtype=torch.float32).train(False)
        self._image: Any = t.CLIPVisionModel.from_pretrained(image, dtype=torch.float32).train(False)
        self._processor = t.CLIPImageProcessorPil.from_pretrained(image)
        self._sentence: dict[str, Any] = {}
        self.paper(n=2)

    def paper(self, n: int | None = None) -> int:
        """Encode as the paper's data loader and model do: every picture with its text padded to 128, float32."""
        import torch

        paths, captions = self._paths[:n], self._captions[:n]
        kept = []
        for start in range(0, len(paths), _BATCH):
            pictures = [Image.open(path).convert("RGB") for path in paths[start : start + _BATCH]]
            pixels = self._processor(images=pictures, return_tensors="pt")
            texts = [f"Caption: {caption}" for caption in captions[start : start + _BATCH]]
            tokens = self._tokenizer(
                texts, padding="max_length", max_length=_PADDED, truncation=True, return_tensors="pt"
            )
            with torch.inference_mode():
                cls = self._text(**tokens).last_hidden_state[:, 0]
                pooled = self._image(**pixels).pooler_output
            kept.append(torch.cat([cls, pooled], 1).numpy())
        return len(np.concatenate(kept))

    def sentences(self, dtype: str, unique: bool, n: int | None = None) -> int:
        """Encode texts by ``encode`` and pictures by transformers' pipeline for image features, batch 32."""
        captions = self._captions[:n]
        texts = list(dict.fromkeys(captions)) if unique else captions
        vectors = self._encode_texts(texts, dtype)
        self._image_pipeline(dtype, self._paths[:n])
        return len(vectors)

    def has_sentence_transformers(self) -> bool:
        """Whether the library itself is there; else what its ``encode`` does is done here."""
        return importlib.util.find_spec("sentence_transformers") is not None

    def _encode_texts(self, texts: list[str], dtype: str) -> Any:
        import torch

        if self.has_sentence_transformers():
            if dtype not in self._sentence:
                from sentence_transformers import SentenceTransformer

                how = {"dtype": getattr(torch, dtype)}
                self._sentence[dtype] = SentenceTransformer(self._text_folder, device="cpu", model_kwargs=how)
            return self._sentence[dtype].encode(texts, batch_size=_BATCH, show_progress_bar=False)
        # As encode does: longest first, padded to the longest of the batch, mean over the real tokens.
        order = np.argsort([-len(text) for text in texts], kind="stable")
        found = np.empty((len(texts), self._text.config.hidden_size), np.float32)
        model = self._text.to(getattr(torch, dtype))
        for start in range(0, len(texts), _BATCH):
            rows = order[start : start + _BATCH]
            tokens = self._tokenizer([texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                states = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
            found[rows] = ((states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)).float().numpy()
        self._text.float()
        return found

    def _image_pipeline(self, dtype: str, paths: list[Path]) -> None:
        import torch
        from transformers import pipeline

        run: Any = pipeline(
            "image-feature-extraction",
            model=self._image.to(getattr(torch, dtype)),
            image_processor=self._processor,
            device="cpu",
            batch_size=_BATCH,
        )
        names = (str(path) for path in paths)
        for _ in run(names, pool=True, return_tensors=True, batch_size=_BATCH):
            pass
        self._image.float()
