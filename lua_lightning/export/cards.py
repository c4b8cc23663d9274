"""The model card of an export: how to use it, what was checked, and what is known of its weights."""

from collections.abc import Sequence

from lua_lightning.export.subject import Subject
from lua_lightning.markdown import wrap


def card(subject: Subject, title: str, snippet: str, facts: Sequence[str], library: str = "diffusers") -> str:
    """Return the card as Markdown with a Hugging Face header.

    Args:
        subject: What was exported.
        title: What the export is.
        snippet: Python that uses it.
        facts: Sentences on how it was made and checked.
        library: The hub's name for the library that loads it.
    """
    config, licence = subject.adapter.config, subject.licence
    scales = " and ".join(f"x{scale}" for scale in config.scales)
    latents = f"{config.channels} channels, {config.space}, of `{config.codec or 'an unnamed autoencoder'}`"
    unknown = f"`{subject.source}` does not say; state it in this header before you publish the folder"
    lines = [
        "---",
        f"license: {licence or 'other'}",
        f"library_name: {library}",
        "tags:",
        "- latent-upscaler",
        "- super-resolution",
        "---",
        f"# {subject.hub_id.rpartition('/')[2]}",
        "",
        f"{title}: a latent upscaler adapter (LUA, [arXiv 2511.10629](https://arxiv.org/abs/2511.10629)), {scales}. "
        f"It enlarges latents ({latents}) just before they are decoded. Written by `lua-lightning export`.",
        "",
        "```python",
        snippet.strip(),
        "```",
        "",
        *(f"- {fact}" for fact in facts),
        f"- Licence: code under Apache-2.0 (`LICENSE`); weights under {licence or unknown}.",
        "",
    ]
    if subject.card:
        lines += [f"The card of the weights, `{subject.source}`:", "", _lowered(subject.card), ""]
    return wrap("\n".join(lines))


def _lowered(text: str) -> str:
    """Return Markdown whose headings are one level lower."""
    fenced, lines = False, []
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        lines.append(f"#{line}" if line.startswith("#") and not fenced else line)
    return "\n".join(lines)
