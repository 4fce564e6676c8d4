"""One training step as a system sees it: its data, its random numbers, and the updates of its networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from genfuse.ops import clip_grad_norm
from genfuse.train.batches import Batches, ImageBatches, step_generator
from genfuse.train.config import RunConfig


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

    def minimise(self, name: str, loss: Tensor, step: int) -> None:
        """One update of the optimizer of that name, at its rate of step ``step``.

        Gradients are computed for its weights alone: other networks that the loss went through are left as they are,
        and cost no gradient of theirs.

        Raises:
            FloatingPointError: the gradient is not finite; nothing has changed.
        """
        optimizer = self.optimizers[name]
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for weight in weights:
            weight.grad = None
        torch.autograd.backward(loss, inputs=weights)
        for weight in weights:
            if weight.grad is None:  # what the loss does not reach
                weight.grad = torch.zeros_like(weight)
        norm = clip_grad_norm(weights, self.config.grad_clip)
        if not torch.isfinite(norm):
            which = "gradient" if len(self.optimizers) == 1 else f"{name}'s gradient"
            raise FloatingPointError(
                f"the {which} of step {step} is not finite (loss {loss.item()}): lower the learning rate"
            )
        for group, rate in zip(optimizer.param_groups, self._rates[name], strict=True):
            group["lr"] = rate * self.config.rate_factor(step)
        optimizer.step()


class Step:
    """A function of the run's seed and ``number``: a resumed run takes the steps that an unbroken one takes.

    Attributes:
        number: steps taken before this one.
        generator: all that is random is drawn from it, on the CPU.
        numbers: what is logged, by name.
    """

    def __init__(self, number: int, batches: Batches, updates: Updates) -> None:
        self.number = number
        self.generator = step_generator(updates.config.seed, number)
        self.numbers: dict[str, Tensor] = {}
        self._batches, self._updates = batches, updates

    def batch(self, label: int | None = None) -> tuple[Tensor, Tensor]:
        """A batch of the data, its own at each call: (samples (B, ...) float32, labels (B,) int64).

        ``label``: of that class alone.
        """
        return self._batches.draw(self.generator, label)

    def numbered_batch(self) -> tuple[Tensor, Tensor]:
        """Pictures as they are, none mirrored, and which of the data's each is: ((B, C, H, W) float32, (B,) int64)."""
        assert isinstance(self._batches, ImageBatches)  # points of the plane have no numbers
        return self._batches.draw_numbered(self.generator)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float32."""
        return torch.randn(shape, generator=self.generator)

    def integers(self, stop: int, *shape: int) -> Tensor:
        """Whole numbers of [0, stop), int64."""
        return torch.randint(stop, shape, generator=self.generator)

    def seed(self) -> int:
        """For what draws by a seed of its own, as `genfuse.gradient_penalty` does."""
        return int(self.integers(2**62, 1))

    def minimise(self, name: str, loss: Tensor) -> None:
        """One update of the optimizer of that name, and its loss logged; see :meth:`Updates.minimise`."""
        self._updates.minimise(name, loss, self.number)
        self.log(**{self._updates.loss_name(name): loss})

    def log(self, **numbers: Tensor) -> None:
        """Scalars to be logged with this step; the last of each name."""
        self.numbers |= {name: value.detach() for name, value in numbers.items()}
