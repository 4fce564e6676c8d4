"""One training step as a system sees it: its data, its random numbers, and the updates of its networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from genfuse import processes
from genfuse.ops import clip_grad_norm
from genfuse.train.batches import Batches, NumberedBatches, step_generator
from genfuse.train.config import RunConfig
from genfuse.train.draws import Draws
from genfuse.train.share import Share
from genfuse.train.turns import Turns


class Updates:
    """A run's optimizers and their learning rates.

    Args:
        optimizers: by name.
        config: the run's.
    """

    def __init__(self, optimizers: Mapping[str, torch.optim.Optimizer], config: RunConfig) -> None:
        self.optimizers, self.config = optimizers, config
        self._rates = {
            name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in optimizers.items()
        }

    def loss_name(self, name: str) -> str:
        """What the loss that an optimizer minimises is called: "critic_loss"; "loss" where there is one alone."""
        return "loss" if len(self.optimizers) == 1 else f"{name}_loss"

    def add_gradient(self, name: str, loss: Tensor, part: int = 0) -> None:
        """To the gradients of that optimizer's weights, which part 0 begins: loss's, over ``config.accumulate``.

        Gradients are computed for its weights alone: other networks that the loss went through are left as they are,
        and cost no gradient of theirs.
        """
        weights, parts = self._weights(name), self.config.accumulate
        if part == 0:
            for weight in weights:
                weight.grad = None
        torch.autograd.backward(
            loss, None if parts == 1 else torch.full_like(loss, 1 / parts), inputs=weights
        )

    def update(self, name: str, loss: Tensor, step: int) -> None:
        """One update of that optimizer at its rate of step ``step``, by all processes' mean gradient.

        Raises:
            FloatingPointError: the gradient is not finite; nothing has changed.
        """
        optimizer, weights = self.optimizers[name], self._weights(name)
        for weight in weights:
            if weight.grad is None:  # what the loss does not reach
                weight.grad = torch.zeros_like(weight)
        processes.here().average(weight.grad for weight in weights if weight.grad is not None)
        norm = clip_grad_norm(weights, self.config.grad_clip)
        if not torch.isfinite(norm):
            which = "gradient" if len(self.optimizers) == 1 else f"{name}'s gradient"
            raise FloatingPointError(
                f"the {which} of step {step} is not finite (loss {loss.item()}): lower the learning rate"
            )
        for group, rate in zip(optimizer.param_groups, self._rates[name], strict=True):
            group["lr"] = rate * self.config.rate_factor(step)
        optimizer.step()

    def _weights(self, name: str) -> list[Tensor]:
        return [weight for group in self.optimizers[name].param_groups for weight in group["params"]]


class Step(Draws):
    """A function of the run's seed and ``number``: a resumed run takes the steps that an unbroken one takes.

    Of several processes, and of several parts in each (``config.accumulate``), every one sees its own samples of the
    batch, and the random numbers that belong to them.

    Attributes:
        number: steps taken before this one.
        generator: all that is random is drawn from it, on the CPU.
        numbers: what is logged, by name.
    """

    def __init__(
        self,
        number: int,
        batches: Batches,
        updates: Updates,
        *,
        part: int = 0,
        turns: Turns | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self._part, self._turns = part, turns or Turns(1)
        every, parts = processes.here(), self._turns.count
        share = Share(every.rank * parts + part, every.world * parts)
        super().__init__(step_generator(updates.config.seed, number), share, device)
        self.number = number
        self.numbers: dict[str, Tensor] = {}
        self._batches, self._updates = batches, updates

    def batch(self, label: int | None = None) -> tuple[Tensor, Tensor]:
        """A batch of the data, its own at each call: (samples (B, ...) float32, labels (B,) int64).

        ``label``: of that class alone.
        """
        samples, labels = self._batches.draw(self.generator, label)
        return self._own(samples), self._own(labels)

    def numbered_batch(self) -> tuple[Tensor, Tensor]:
        """Pictures as they are, none mirrored, and which of the data's each is: ((B, C, H, W) float32, (B,) int64)."""
        assert isinstance(self._batches, NumberedBatches)  # points of the plane have no numbers
        images, numbers = self._batches.draw_numbered(self.generator)
        return self._own(images), self._own(numbers)

    def minimise(self, name: str, loss: Tensor) -> None:
        """One update of the optimizer of that name, and its loss logged; see :class:`Updates`.

        The loss is a mean over the samples: that of the batch is the mean of its shares'.
        """
        self._updates.add_gradient(name, loss, self._part)
        if self._part == self._turns.count - 1:
            self._updates.update(name, loss, self.number)
        self.log(**{self._updates.loss_name(name): loss})
        self._turns.give_way(self._part)

    def log(self, **numbers: Tensor) -> None:
        """Scalars to be logged with this step, means over the samples; the last of each name."""
        self.numbers |= {name: value.detach() for name, value in numbers.items()}
