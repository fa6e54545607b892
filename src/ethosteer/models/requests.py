"""Requests of benchmarks as text and token ids, as lm-evaluation-harness 0.4.13 makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from ethosteer.errors import InputError
from ethosteer.models.text import Template
from ethosteer.records import Item
from ethosteer.settings import TEMPLATE_DATE

GAP = " ... "
"""Replaces the text that is cut out of an item that is too long."""


def chat_template(tokenizer: PreTrainedTokenizerBase, date: str = TEMPLATE_DATE) -> Template:
    """Return the template that writes requests as chat.

    ``date`` (YYYY-MM-DD) is today for templates that print it. Raises InputError where the
    tokenizer has no chat template, or one that leaves out what a turn says.
    """
    if not tokenizer.chat_template:
        raise InputError(
            "evaluate.chat: the tokenizer of base.model has no chat template; evaluate without "
            "evaluate.chat (or --chat)"
        )
    template = Template("chat", tokenizer, date)
    template.check()
    return template


def in_chat(items: Sequence[Item], chat: Template | None) -> list[Item]:
    """Write every context as the human's turn, by a chat template; None: leave items as they are.

    A continuation follows the generation prompt without the delimiter that plain text needs. Items
    with token ids have been written by a template already.
    """
    if chat is None:
        return list(items)
    return [item if item.token_ids else _written(item, chat) for item in items]


def _written(item: Item, chat: Template) -> Item:
    form = item.form
    texts = {
        context: chat.request_text(
            [*form.earlier, ("human", context[form.opening : len(context) - form.closing])]
        )
        for context in item.contexts
    }
    return replace(
        item,
        contexts=tuple(texts[context] for context in item.contexts),
        continuations=tuple(choice.removeprefix(form.delimiter) for choice in item.continuations),
    )


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> dict[str, list[int]]:
    """Encode every distinct text once, with the tokenizer's special tokens.

    They are not added to a text that starts with BOS already, as chat templates often write it. As
    in the harness, and unlike in a study's dialogues, text that spells a special token is encoded
    as that token.
    """
    prefix = prefix_token(tokenizer)
    bos = None if prefix is None else str(tokenizer.decode(prefix))
    whole: list[str] = []
    bare: list[str] = []
    for text in sorted(set(texts)):
        (whole if bos is None or not text.startswith(bos) else bare).append(text)
    ids: dict[str, list[int]] = {}
    for group, add_special_tokens in ((whole, True), (bare, False)):
        if group:
            encoded = tokenizer(group, add_special_tokens=add_special_tokens).input_ids
            ids |= zip(group, encoded, strict=True)
    return ids


def prefix_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return what stands before an empty context: BOS, or EOS where there is none."""
    bos: int | None = tokenizer.bos_token_id
    return tokenizer.eos_token_id if bos is None else bos


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]
) -> list[tuple[list[int], list[int]]]:
    """Encode (context, continuation) pairs, every text once.

    Trailing spaces of the context move to the continuation (with a chat template, the line break
    of the generation prompt), and the continuation's ids are what the whole text has beyond the
    context's. An empty context becomes BOS, or EOS where there is none; InputError where there is
    neither.
    """
    texts = {text for context, end in pairs for text in (context.rstrip(), context + end)} - {""}
    ids = encode_texts(tokenizer, texts)
    prefix = prefix_token(tokenizer)
    if prefix is None and any(not context for context, _ in pairs):
        raise InputError(
            "the base's tokenizer has neither BOS nor EOS, one of which stands before a sentence "
            "without context; such items need another base"
        )

    def encode(context: str, end: str) -> tuple[list[int], list[int]]:
        whole = ids[context + end]
        if context:
            before = ids[context.rstrip()]
            return before, whole[len(before) :]
        assert prefix is not None
        return (whole[:1], whole[1:]) if whole[:1] == [prefix] else ([prefix], whole)

    return [encode(context, end) for context, end in pairs]


def check_requests(
    tokenizer: PreTrainedTokenizerBase, benchmark: str, items: Sequence[Item]
) -> None:
    """Encode items as models will read them.

    Raises InputError, with the item, for a choice that has no token beyond its context's, which
    would be certain whatever the model, and for a context that has none.
    """
    for item in items:
        if not item.continuations and not item.contexts[0].strip():
            raise InputError(f"benchmark {benchmark}: item {item.id} has an empty request")
    chosen = [item for item in items if item.continuations and not item.token_ids]
    pairs = list(
        dict.fromkeys(
            pair for item in chosen for pair in zip(item.contexts, item.continuations, strict=True)
        )
    )
    encoded = dict(zip(pairs, encode_pairs(tokenizer, pairs), strict=True))
    for item in chosen:
        for context, choice in zip(item.contexts, item.continuations, strict=True):
            before, after = encoded[context, choice]
            if not before or not after:
                raise InputError(
                    f"benchmark {benchmark}: item {item.id}: the choice {choice[:60]!r} or its "
                    "context has no token of its own with the base's tokenizer; change the text"
                )


def fit(
    tokenizer: PreTrainedTokenizerBase,
    item: Item,
    max_length: int,
    reserved: int,
    chat: Template | None = None,
) -> Item:
    """Cut the middle of an item's ``trim`` span until contexts leave ``reserved`` tokens free.

    Contexts are measured as ``chat`` writes them. Returns the item itself where it fits or has no
    span.
    """
    if item.trim is None:
        return item
    start, end = item.trim
    shorter = item
    keep = end - start
    while keep > 0:
        (written,) = in_chat([shorter], chat)
        longest = max(map(len, encode_texts(tokenizer, written.contexts).values()))
        if longest + reserved <= max_length:
            break
        # in proportion to the excess, but by at least 8 characters, so that the loop ends
        keep = max(0, min(int(keep * (max_length - reserved) / longest), keep - 8))
        head, tail = (keep + 1) // 2, keep // 2
        shorter = replace(
            item,
            contexts=tuple(
                context[: start + head] + GAP + context[end - tail :] for context in item.contexts
            ),
        )
    return shorter
