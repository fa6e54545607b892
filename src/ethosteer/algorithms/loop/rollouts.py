"""Answers of arms to the same prompts, scored and measured: what algorithms learn from.

Arms sample together, in one batch, and read their answers in turn, each with the whole token
budget. The reference is the base without adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ethosteer import processes
from ethosteer.algorithms.loop.task import Task
from ethosteer.maths.ppo import entropy, kl_k1, token_log_probabilities
from ethosteer.models.base import pad_right
from ethosteer.models.engine.protocol import Completion
from ethosteer.models.fast.budget import passes, training_tokens, within_memory
from ethosteer.models.fast.packing import pack_rows
from ethosteer.models.generation import complete, generate
from ethosteer.models.heads import ScalarHeads
from ethosteer.models.sharding import add_up, agreed, divided
from ethosteer.models.timing import Stopwatch
from ethosteer.records import Rollout


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Answers of arms to the same held-out prompts: token ids, scores, KL per answer.

    responses: arm by arm; scores (normalised) and kl (k1, nats per answer): ``[arms, prompts]``.
    """

    responses: list[list[int]]
    scores: Tensor
    kl: Tensor


class Collector:
    """Samples answers with the arms of a task, and scores and measures them.

    ``values``, where an algorithm has a critic, reads the policy's last hidden state.
    """

    def __init__(
        self, task: Task, values: ScalarHeads | None = None, watch: Stopwatch | None = None
    ) -> None:
        self.task = task
        self.base = task.base
        self.values = values
        self.watch = watch or Stopwatch()
        self.minibatch_rows = task.settings.batch // task.settings.minibatches
        self.token_budget = training_tokens(
            task.base, task.settings.lora, task.settings.tokens_per_batch
        )

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

        With ``recompute``, log-probabilities come from the same passes as a learner's, row for row,
        so that its first ratio is exactly 1. Otherwise they are those of the sampling pass, equal
        up to rounding, at no cost. Answers of an engine are always recomputed: its arithmetic is
        another program's.
        """
        sampling, engine = self.task.sampling, self.base.engine
        if engine is not None:
            with self.watch.part("generate"), self.task.policies.applied(arms):
                completions = complete(engine, self.base, prompts, len(arms), sampling, noise)
            with self.watch.part("score"):
                return self._recomputed(list(prompts) * len(arms), completions, arms)
        rows, width = len(prompts) * len(arms), sampling.max_new_tokens
        sampled = None if recompute else _Sampled.blank(self, arms, rows, width)
        with self.watch.part("generate"), self.task.policies.applied(arms):
            responses = generate(self.base, prompts, len(arms), sampling, noise, sampled)
        with self.watch.part("score"):
            rollout = self._scored(list(prompts) * len(arms), responses, arms)
            if sampled is not None:
                sampled.write(rollout)
            return self._measured(rollout, reference_only=not recompute)

    def _recomputed(
        self,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Completion],
        arms: Sequence[int],
    ) -> Rollout:
        """Score and measure an engine's answers, and keep its log-probabilities beside ours."""
        rollout = self._scored(prompts, [answer.tokens for answer in completions], arms)
        log_p = torch.zeros_like(rollout.log_probabilities)
        flat = [value for answer in completions for value in answer.log_probabilities]
        log_p[rollout.response_mask] = torch.tensor(flat, device=log_p.device)
        return replace(
            self._measured(rollout, reference_only=False), engine_log_probabilities=log_p
        )

    def _measured(self, rollout: Rollout, *, reference_only: bool) -> Rollout:
        """Read all answers by the passes of a learner, all with one token budget."""
        minibatches = [
            (arm, rows)
            for position, arm in enumerate(rollout.arms)
            for rows in self.minibatches(rollout, position)
        ]

        def read(tokens: int) -> int:
            for arm, rows in minibatches:
                self.read(rollout, arm, rows, tokens, reference_only=reference_only)
            return tokens

        sizes = max((self.sizes(rollout, rows) for _, rows in minibatches), key=sum)
        tokens = within_memory(self.base, "training", self.token_budget, sizes, read)
        return rollout if reference_only else replace(rollout, pass_tokens=tokens)

    @torch.no_grad()
    def read(
        self, rollout: Rollout, arm: int, rows: Tensor, tokens: int, *, reference_only: bool = False
    ) -> None:
        """Fill in what the learner's passes over a minibatch give, at most ``tokens`` in each.

        A process reads the rows that it learns from, so that a first ratio is 1 exactly.
        """
        filled = [rollout.reference_log_probabilities]
        if not reference_only:
            filled += [rollout.log_probabilities, rollout.entropy, rollout.values]
        for chunk, weight in divided(self.passes(rollout, rows, tokens)):
            self._read(rollout, arm, chunk, weight, reference_only=reference_only)
        if processes.count() > 1:  # what another process reads is 0 so far
            blocks = [target[rows] for target in filled]
            add_up(blocks)
            for target, block in zip(filled, blocks, strict=True):
                target[rows] = block

    def _scored(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[list[int]],
        arms: Sequence[int],
    ) -> Rollout:
        """Score sampled responses: equal blocks of (prompt, response) rows for each of ``arms``."""
        task, device = self.task, self.base.device
        tokens, _ = pad_right([[*p, *r] for p, r in zip(prompts, responses, strict=True)], device)
        response_tokens, lengths = pad_right(responses, device)
        columns = torch.arange(response_tokens.shape[1], device=device)
        zeros = torch.zeros(response_tokens.shape, device=device)
        rollout = Rollout(
            arms=tuple(arms),
            tokens=tokens,
            prompt_lengths=torch.tensor([len(p) for p in prompts], device=device),
            response_tokens=response_tokens,
            response_mask=columns < lengths.unsqueeze(1),
            log_probabilities=zeros.clone(),
            reference_log_probabilities=zeros.clone(),
            entropy=zeros.clone(),
            values=zeros.clone(),
            scores=torch.empty(len(responses), device=device),
        )
        for position, arm in enumerate(arms):
            rows = self.block(rollout, position)
            rollout.scores[rows] = self.score(rollout, rows, task.reward_index[arm])
        if task.settings.missing_eos_penalty and not task.sampling.ignore_eos:
            rollout.scores.sub_(task.settings.missing_eos_penalty * ~self.ended(rollout))
        return rollout

    def _read(
        self, rollout: Rollout, arm: int, rows: Tensor, weight: float, *, reference_only: bool
    ) -> None:
        """Fill in the reference's log-probabilities of some rows, and the policy's and critic's.

        All are multiplied by ``weight``, 0 for rows that another process reads.
        """
        reference = self.base.logits(self.states(rollout, None, rows))
        log_q = self.log_p(rollout, rows, reference)
        _put(rollout, rollout.reference_log_probabilities, rows, weight * log_q)
        if reference_only:
            return
        states = self.states(rollout, arm, rows)
        logits = self.base.logits(states)
        log_p = self.log_p(rollout, rows, logits)
        spread = entropy(logits, self.task.sampling.temperature)
        _put(rollout, rollout.log_probabilities, rows, weight * log_p)
        _put(rollout, rollout.entropy, rows, weight * spread)
        if self.values is not None:
            _put(rollout, rollout.values, rows, weight * self.values(states, [arm]))

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

    def score(self, rollout: Rollout, rows: Tensor, reward_index: int) -> Tensor:
        """Score rows, of any arms, by one reward model: ``[rows]``, normalised.

        Equal rows are read once.
        """
        starts = rollout.prompt_lengths[rows].tolist()
        lengths = rollout.response_mask[rows].sum(dim=1).tolist()
        tokens, responses = rollout.tokens[rows].tolist(), rollout.response_tokens[rows].tolist()
        scored = self.task.sampling.scored_rows(
            self.base,
            self.task.template,
            [row[:start] for row, start in zip(tokens, starts, strict=True)],
            [row[:length] for row, length in zip(responses, lengths, strict=True)],
        )
        return self.task.reward_models.score(self.base, reward_index, scored)

    def block(self, rollout: Rollout, position: int) -> Tensor:
        """Row numbers of the arm at ``position`` in the rollout."""
        rows = len(rollout.tokens) // len(rollout.arms)
        return torch.arange(position * rows, (position + 1) * rows, device=rollout.tokens.device)

    def minibatches(
        self, rollout: Rollout, position: int, order: Tensor | None = None
    ) -> list[Tensor]:
        """Cut the rows of the arm at ``position`` into minibatches, in ``order [rows]`` if any."""
        rows = self.block(rollout, position)
        if order is not None:
            rows = rows[order.to(rows.device)]
        return list(rows.split(self.minibatch_rows))

    def sizes(self, rollout: Rollout, rows: Tensor) -> list[int]:
        """Return the tokens that are read of each of ``rows``."""
        lengths: list[int] = rollout.read_lengths[rows].tolist()
        return lengths

    def passes(self, rollout: Rollout, rows: Tensor, tokens: int) -> list[Tensor]:
        """Cut the rows of a minibatch into passes of at most ``tokens``."""
        lengths = dict(zip(rows.tolist(), self.sizes(rollout, rows), strict=True))
        chunks = passes(list(lengths), lengths.__getitem__, tokens, processes.count())
        return [torch.tensor(chunk, device=rows.device) for chunk in chunks]

    def states(
        self,
        rollout: Rollout,
        arm: int | None,
        rows: Tensor,
        dropout: int | None = None,
    ) -> Tensor:
        """Hidden states that predict the response tokens of ``rows``, row after row: ``[., H]``.

        In the order of ``rollout.response_mask[rows]``'s entries. ``arm`` None is the reference,
        ``dropout`` the seed of dropout masks.
        """
        lengths = rollout.read_lengths[rows]
        tokens = rollout.tokens[rows, : int(lengths.max())]
        packed, positions = pack_rows(tokens, lengths, dropout=dropout)
        columns = torch.arange(tokens.shape[1], device=tokens.device)
        real = columns < lengths.unsqueeze(1)
        # a prompt's last token predicts the response's first
        predicts = columns >= rollout.prompt_lengths[rows].unsqueeze(1) - 1
        with self.task.policies.applied([arm]) if arm is not None else nullcontext():
            return self.base.hidden_packed(packed, positions[predicts[real]])[0]

    def log_p(self, rollout: Rollout, rows: Tensor, logits: Tensor) -> Tensor:
        """Log-probabilities at the sampling temperature of the response tokens of ``rows``.

        logits: ``[., vocabulary]``, of ``states``' positions -> ``[.]``.
        """
        tokens = rollout.response_tokens[rows][rollout.response_mask[rows]]
        return token_log_probabilities(logits, tokens, self.task.sampling.temperature)

    def ended(self, rollout: Rollout) -> Tensor:
        """Return which responses end with a stop token, ``[R]``."""
        last = rollout.response_mask.sum(dim=1, keepdim=True) - 1
        tokens = rollout.response_tokens.gather(1, last).squeeze(1)
        return torch.isin(tokens, torch.tensor(sorted(self.base.stop_ids), device=tokens.device))


def _put(rollout: Rollout, target: Tensor, rows: Tensor, values: Tensor) -> None:
    """Write the values of ``rows``' response tokens into a padded ``[R, N]`` tensor."""
    mask = rollout.response_mask[rows]
    block = torch.zeros(mask.shape, device=target.device)
    block[mask] = values.float()
    target[rows] = block


@dataclass(frozen=True, slots=True)
class _Sampled:
    """Records the log-probability, entropy and value of each sampled token: ``[R, N]`` each."""

    temperature: float
    arms: Sequence[int]
    heads: ScalarHeads | None
    log_probabilities: Tensor
    entropy: Tensor
    values: Tensor

    @classmethod
    def blank(cls, collector: Collector, arms: Sequence[int], rows: int, width: int) -> _Sampled:
        """Return a record for ``rows`` answers of at most ``width`` tokens."""
        zeros = [torch.zeros(rows, width, device=collector.base.device) for _ in range(3)]
        return cls(collector.task.sampling.temperature, arms, collector.values, *zeros)

    def __call__(
        self, rows: Tensor, column: Tensor, hidden: Tensor, logits: Tensor, tokens: Tensor
    ) -> None:
        """Record one new token of each of ``rows``."""
        log_p = (logits.float() / self.temperature).log_softmax(dim=-1)
        self.log_probabilities[rows, column] = log_p.gather(1, tokens.unsqueeze(1)).squeeze(1)
        self.entropy[rows, column] = -(log_p.exp() * log_p).sum(dim=-1)
        if self.heads is not None:
            self.values[rows, column] = self.heads(hidden, self.arms)

    def write(self, rollout: Rollout) -> None:
        """Fill in a rollout of the same rows."""
        width = rollout.response_mask.shape[1]
        for name in ("log_probabilities", "entropy", "values"):
            values = agreed(getattr(self, name)[:, :width] * rollout.response_mask)
            getattr(rollout, name).copy_(values)


def draw_prompts(
    prompts: Sequence[Sequence[int]], count: int, noise: torch.Generator
) -> list[Sequence[int]]:
    """Draw ``count`` prompts in random order; none comes twice before all came once."""
    order = torch.randperm(len(prompts), generator=noise)
    repeats = -(-count // len(order))
    return [prompts[i] for i in order.repeat(repeats)[:count].tolist()]
