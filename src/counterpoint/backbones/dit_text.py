"""Prompts for diffusion transformers: CLIP and T5, each in memory for one prompt only."""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from counterpoint.errors import ModelError, WeightsMismatch


@dataclass(frozen=True)
class Condition:
    """A prompt as a network takes it.

    Attributes:
        tokens: one vector a token.
        pooled: one vector for the whole prompt, for networks that take one.
        mask: 1 where a token is text, 0 where it is padding, for networks that take it.
    """

    tokens: Float[Tensor, "1 tokens channels"]
    pooled: Float[Tensor, "1 pooled"] | None = None
    mask: Float[Tensor, "1 tokens"] | None = None


@dataclass(frozen=True)
class TextEncoders:
    """A pipeline's text encoders: ``text_encoder<which>/`` and ``tokenizer<which>/`` of a folder.

    Attributes:
        folder: of the pipeline.
        device: where they run.
        dtype: in what precision.
    """

    folder: Path
    device: torch.device
    dtype: torch.dtype

    def has(self, which: str) -> bool:
        """Whether there is such an encoder; T5 is often left away for its size."""
        return (self.folder / f"text_encoder{which}").is_dir()

    def clip(self, which: str, prompt: str, *, projected: bool) -> tuple[Tensor, Tensor]:
        """CLIP's last but one hidden states (1, 77, width) and its pooled vector (1, width).

        Args:
            which: suffix of the folders' names.
            prompt: cut off after 77 tokens.
            projected: whether the pooled vector is the one projected to CLIP's common space.
        """
        tokenizer = self._tokenizer("CLIPTokenizer", which)
        ids, _ = _tokens(tokenizer, prompt, tokenizer.model_max_length)
        name = "CLIPTextModelWithProjection" if projected else "CLIPTextModel"
        out = self._run(name, which, input_ids=ids, output_hidden_states=True)
        pooled = out.text_embeds if projected else out.pooler_output
        return out.hidden_states[-2].to(self.dtype), pooled.to(self.dtype)

    def t5(
        self, which: str, prompt: str, length: int, *, masked: bool = False
    ) -> tuple[Tensor, Tensor]:
        """T5's last hidden states (1, length, width), and which tokens are text (1, length).

        Args:
            which: suffix of the folders' names.
            prompt: cut off after ``length`` tokens, padded to as many.
            length: tokens.
            masked: whether padding is hidden from the text's tokens.
        """
        if not (self.folder / f"tokenizer{which}" / "tokenizer.json").is_file():
            _check_sentencepiece(self.folder / f"tokenizer{which}")
        ids, mask = _tokens(self._tokenizer("T5TokenizerFast", which), prompt, length)
        named = {"attention_mask": mask.to(self.device)} if masked else {}
        out = self._run("T5EncoderModel", which, input_ids=ids, **named)
        return out.last_hidden_state.to(self.dtype), mask.to(self.device, self.dtype)

    def _tokenizer(self, name: str, which: str) -> Any:
        import transformers

        folder = self.folder / f"tokenizer{which}"
        try:
            return getattr(transformers, name).from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise _missing(folder, name, error) from error

    def _run(self, name: str, which: str, input_ids: Tensor, **named: Any) -> Any:
        """What an encoder makes of tokens; the encoder is gone afterwards."""
        import transformers

        folder = self.folder / f"text_encoder{which}"
        try:
            with _quiet():
                encoder, report = getattr(transformers, name).from_pretrained(
                    folder, local_files_only=True, dtype=self.dtype, output_loading_info=True
                )
        except (OSError, ValueError) as error:
            raise _missing(folder, name, error) from error
        except RuntimeError as error:
            raise WeightsMismatch(
                f"expected a {name} in {folder}: its config.json and its weights do not fit"
            ) from error
        if lacking := sorted(report["missing_keys"]):
            more = f" and {len(lacking) - 4} more" if len(lacking) > 4 else ""
            raise WeightsMismatch(
                f"{folder}: the checkpoint lacks {', '.join(lacking[:4])}{more}; "
                f"is it another network than {name}?"
            )
        with torch.inference_mode():
            out = encoder.to(self.device).eval()(input_ids.to(self.device), **named)
        del encoder
        gc.collect()  # T5 is up to 19 GB: modules that refer to each other must not linger
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return out


def _tokens(tokenizer: Any, prompt: str, length: int) -> tuple[Tensor, Tensor]:
    """Token numbers and mask, each (1, length)."""
    found = tokenizer(
        prompt,
        padding="max_length",
        max_length=length,
        truncation=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    return found.input_ids, found.attention_mask


@contextmanager
def _quiet() -> Generator[None]:
    """Without transformers' bar, and its table of what did not fit, for which there is an error."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _missing(folder: Path, name: str, error: Exception) -> ModelError:
    return ModelError(f"expected a {name} in {folder}: {str(error).splitlines()[0]}")


def _check_sentencepiece(folder: Path) -> None:
    """Raise unless the original's vocabulary can be read."""
    wanted = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
    lacking = [name for module, name in wanted.items() if not _importable(module)]
    if (folder / "spiece.model").is_file() and lacking:
        raise ModelError(
            f"expected tokenizer.json in {folder}, found only spiece.model, which takes another "
            f"package to read: pip install {' '.join(lacking)}"
        )


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
