"""Responses of arms to the same prompts, scored and measured: what steering learns from.

Every algorithm that samples shares this. Arms sample together, in one batch; where they read
their own answers they take turns, each with all the memory there is. The reference is the base with
the adapters off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ethosteer.maths.ppo import entropy, kl_k1, token_log_probabilities
from ethosteer.models.base import SharedBase, pad_right
from ethosteer.models.fast.budget import passes
from ethosteer.models.fast.packing import pack_rows
from ethosteer.models.generation import Sampling, generate
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.lora_bank import LoraBank
from ethosteer.models.reward_models import RewardModels
from ethosteer.models.timing import Stopwatch
from ethosteer.records import Rollout


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Answers of arms to the same held-out prompts: texts as ids, scores, KL per response.

    responses: arm by arm; scores (normalised) and kl (k1, nats per response): ``[arms, prompts]``.
    """

    responses: list[list[int]]
    scores: Tensor
    kl: Tensor


@dataclass(frozen=True, slots=True)
class Collector:
    """Samples with arms of ``policies``; arm ``i`` is scored by the reward model ``judges[i]``.

    ``values``, where an algorithm has a critic, reads the policy's last hidden state. ``minibatch``
    is the rows of an arm that are learnt from together, ``room`` the tokens that run at once.
    """

    base: SharedBase
    policies: LoraBank
    rewards: RewardModels
    judges: Sequence[int]
    sampling: Sampling
    minibatch: int
    room: int
    values: ScalarHeads | None = None
    missing_eos_penalty: float = 0.0
    watch: Stopwatch = field(default_factory=Stopwatch)

    @torch.no_grad()
    def collect(
        self,
        prompts: Sequence[Sequence[int]],
        noise: torch.Generator,
        arms: Sequence[int],
        *,
        recompute: bool = True,
    ) -> Rollout:
        """Answer ``prompts`` with every one of ``arms``, score and measure the answers.

        With ``recompute``, log-probabilities come from the passes that a learner makes too, part
        for part, so that its first ratio is exactly 1; without it they are those of the sampling
        pass, which are the same up to rounding, and cost nothing.
        """
        rows, width = len(prompts) * len(arms), self.sampling.max_new_tokens
        sampled = None if recompute else _Sampled.blank(self, arms, rows, width)
        with self.watch.part("generate"), self.policies.applied(arms):
            responses = generate(self.base, prompts, len(arms), self.sampling, noise, sampled)
        with self.watch.part("score"):
            rollout = self._scored(list(prompts) * len(arms), responses, arms)
            if sampled is not None:
                sampled.write(rollout)
            for place, arm in enumerate(arms):
                for part in self.passes(rollout, place):
                    self._read(rollout, arm, part, reference_only=not recompute)
        return rollout

    def _read(self, rollout: Rollout, arm: int, part: Tensor, *, reference_only: bool) -> None:
        """Fill in what the reference, and the policy and its critic, say of some rows."""
        mask = rollout.response_mask[part]
        reference = self.base.logits(self.states(rollout, None, part))
        _put(rollout.reference_log_probabilities, part, mask, self.log_p(rollout, part, reference))
        if reference_only:
            return
        states = self.states(rollout, arm, part)
        logits = self.base.logits(states)
        _put(rollout.log_probabilities, part, mask, self.log_p(rollout, part, logits))
        _put(rollout.entropy, part, mask, entropy(logits, self.sampling.temperature))
        if self.values is not None:
            _put(rollout.values, part, mask, self.values(states, [arm]))

    def held_out(
        self, prompts: Sequence[Sequence[int]], noise: torch.Generator, arms: Sequence[int]
    ) -> HeldOut:
        """Answer held-out prompts with every one of ``arms``."""
        rollout = self.collect(prompts, noise, arms)
        kl = kl_k1(rollout.log_probabilities, rollout.reference_log_probabilities)
        kl = (kl * rollout.response_mask).sum(dim=1)
        lengths = rollout.response_mask.sum(dim=1).tolist()
        responses = [
            row[:length]
            for row, length in zip(rollout.response_tokens.tolist(), lengths, strict=True)
        ]
        shape = (len(arms), len(prompts))
        return HeldOut(responses, rollout.scores.view(shape).cpu(), kl.view(shape).cpu())

    def _scored(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[list[int]],
        arms: Sequence[int],
    ) -> Rollout:
        """Score sampled responses: equal blocks of (prompt, response) rows for each of ``arms``."""
        device = self.base.device
        tokens, _ = pad_right([[*p, *r] for p, r in zip(prompts, responses, strict=True)], device)
        response_tokens, lengths = pad_right(responses, device)
        count = torch.arange(response_tokens.shape[1], device=device)
        blank = torch.zeros(response_tokens.shape, device=device)
        rollout = Rollout(
            arms=tuple(arms),
            tokens=tokens,
            prompt_lengths=torch.tensor([len(p) for p in prompts], device=device),
            response_tokens=response_tokens,
            response_mask=count < lengths.unsqueeze(1),
            log_probabilities=blank.clone(),
            reference_log_probabilities=blank.clone(),
            entropy=blank.clone(),
            values=blank.clone(),
            scores=torch.empty(len(responses), device=device),
        )
        for place, arm in enumerate(arms):
            block = self.block(rollout, place)
            rollout.scores[block] = self.judged(rollout, place, self.judges[arm])
        if self.missing_eos_penalty and not self.sampling.ignore_eos:
            rollout.scores.sub_(self.missing_eos_penalty * ~self.ended(rollout))
        return rollout

    def judged(self, rollout: Rollout, place: int, judge: int) -> Tensor:
        """Score the answers of the arm at ``place`` by one reward model: normalised, ``[rows]``."""
        return self.judged_rows(rollout, self.block(rollout, place), judge)

    def judged_rows(self, rollout: Rollout, chosen: Tensor, judge: int) -> Tensor:
        """Score answers of any arms by one reward model, those that are alike once: ``[rows]``."""
        eos = self.base.tokenizer.eos_token_id
        lengths = rollout.prompt_lengths.tolist(), rollout.response_mask.sum(dim=1).tolist()
        rows = []
        for row in chosen.tolist():
            before, after = (own[row] for own in lengths)
            ids = rollout.tokens[row, : before + after].tolist()
            rows.append([*ids[:before], *self.sampling.scored_part(ids[before:], eos)])
        return self.rewards.score(self.base, judge, rows)

    def block(self, rollout: Rollout, place: int) -> Tensor:
        """Row numbers of the arm at ``place`` among the rollout's."""
        rows = len(rollout.tokens) // len(rollout.arms)
        return torch.arange(place * rows, (place + 1) * rows, device=rollout.tokens.device)

    def minibatches(
        self, rollout: Rollout, place: int, order: Tensor | None = None
    ) -> list[Tensor]:
        """Cut the rows of the arm at ``place`` into minibatches, in ``order [rows]`` if given."""
        rows = self.block(rollout, place)
        return list((rows if order is None else rows[order.to(rows.device)]).split(self.minibatch))

    def parts(self, rollout: Rollout, rows: Tensor) -> list[Tensor]:
        """Cut a minibatch into passes of at most ``room`` tokens."""
        sizes = dict(zip(rows.tolist(), rollout.read_lengths[rows].tolist(), strict=True))
        cut = passes(list(sizes), sizes.__getitem__, self.room)
        return [torch.tensor(part, device=rows.device) for part in cut]

    def passes(self, rollout: Rollout, place: int) -> Iterator[Tensor]:
        """All rows of an arm, minibatch by minibatch in order, part by part."""
        for rows in self.minibatches(rollout, place):
            yield from self.parts(rollout, rows)

    def states(
        self,
        rollout: Rollout,
        arm: int | None,
        rows: Tensor,
        dropout: torch.Generator | None = None,
    ) -> Tensor:
        """Hidden states that predict the response tokens of ``rows``, row after row: ``[., H]``.

        In the order of ``rollout.response_mask[rows]``'s entries. ``arm`` None is the reference.
        """
        lengths = rollout.read_lengths[rows]
        tokens = rollout.tokens[rows, : int(lengths.max())]
        packed, places = pack_rows(tokens, lengths)
        at = torch.arange(tokens.shape[1], device=tokens.device)
        real = at < lengths.unsqueeze(1)
        predicts = at >= rollout.prompt_lengths[rows].unsqueeze(1) - 1
        with self.policies.applied([arm], dropout) if arm is not None else nullcontext():
            return self.base.hidden_packed(packed, places[predicts[real]])[0]

    def log_p(self, rollout: Rollout, rows: Tensor, logits: Tensor) -> Tensor:
        """Log-probabilities at the sampling temperature of the response tokens of ``rows``.

        logits: ``[., vocabulary]``, of ``states``' positions -> ``[.]``.
        """
        tokens = rollout.response_tokens[rows][rollout.response_mask[rows]]
        return token_log_probabilities(logits, tokens, self.sampling.temperature)

    def ended(self, rollout: Rollout) -> Tensor:
        """Say which responses end with EOS, ``[R]``."""
        last = rollout.response_mask.sum(dim=1, keepdim=True) - 1
        tokens = rollout.response_tokens.gather(1, last).squeeze(1)
        return torch.eq(tokens, self.base.tokenizer.eos_token_id)


def _put(target: Tensor, rows: Tensor, mask: Tensor, values: Tensor) -> None:
    """Write the values of ``rows``' response tokens into a padded ``[R, N]`` tensor."""
    block = torch.zeros(mask.shape, device=target.device)
    block[mask] = values.float()
    target[rows] = block


@dataclass(frozen=True, slots=True)
class _Sampled:
    """What the sampling pass knows of each token it draws: ``[R, N]`` each."""

    temperature: float
    arms: Sequence[int]
    heads: ScalarHeads | None
    log_probabilities: Tensor
    entropy: Tensor
    values: Tensor

    @classmethod
    def blank(cls, collector: Collector, arms: Sequence[int], rows: int, width: int) -> _Sampled:
        """Make room for ``rows`` answers of at most ``width`` tokens."""
        own = [torch.zeros(rows, width, device=collector.base.device) for _ in range(3)]
        return cls(collector.sampling.temperature, arms, collector.values, *own)

    def __call__(
        self, rows: Tensor, column: int, hidden: Tensor, logits: Tensor, chosen: Tensor
    ) -> None:
        """Take down one new token of ``rows``."""
        log_p = (logits.float() / self.temperature).log_softmax(dim=-1)
        self.log_probabilities[rows, column] = log_p.gather(1, chosen.unsqueeze(1)).squeeze(1)
        self.entropy[rows, column] = -(log_p.exp() * log_p).sum(dim=-1)
        if self.heads is not None:
            self.values[rows, column] = self.heads(hidden, self.arms)

    def write(self, rollout: Rollout) -> None:
        """Fill in a rollout of the same rows."""
        width = rollout.response_mask.shape[1]
        for name in ("log_probabilities", "entropy", "values"):
            getattr(rollout, name).copy_(getattr(self, name)[:, :width] * rollout.response_mask)


def draw_prompts(
    prompts: Sequence[Sequence[int]], count: int, noise: torch.Generator
) -> list[Sequence[int]]:
    """Draw ``count`` prompts in random order; none comes twice before all came once."""
    order = torch.randperm(len(prompts), generator=noise)
    repeats = -(-count // len(order))
    return [prompts[i] for i in order.repeat(repeats)[:count].tolist()]
