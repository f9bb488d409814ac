"""The available optimizers, all of ``torch.optim``, a faster call of their step, and the schedule of its size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seqlra import own
from seqlra.errors import SeqlraError, first_line, unknown

if TYPE_CHECKING:
    from seqlra.training.settings import Optimization  # which imports pydantic; `fit` does without

OPTIMIZERS: dict[str, str] = {
    "sgd": "gradient descent, with momentum if given (the paper's Table 1)",
    "adam": "Adam, Kingma and Ba 2014 (the paper's Tables 2 and 4)",
    "rmsprop": "RMSprop",
    "adamw": "Adam with decoupled weight decay at torch's default",
    "nadam": "Adam with Nesterov momentum",
}

SCHEDULES = ("constant", "linear")


def optimizer(parameters: Iterable[nn.Parameter], settings: Optimization) -> torch.optim.Optimizer:
    """The optimizer that these settings name.

    Raises:
        SeqlraError: an unknown name.
    """
    return make(settings.optimizer, parameters, settings.lr, settings.momentum, settings.weight_decay)


def make(
    name: str,
    parameters: Iterable[nn.Parameter],
    lr: float,
    momentum: float = 0.0,
    weight_decay: float | None = None,
) -> torch.optim.Optimizer:
    """The optimizer of that name; torch's fused implementation where it has one: the same steps up to rounding, in
    one pass over memory. ``module:Class`` is any other, such as ``torch.optim:Adagrad``, at its own defaults.

    Raises:
        SeqlraError: an unknown name, or settings that it does not have.
    """
    decay: dict[str, Any] = {} if weight_decay is None else {"weight_decay": weight_decay}  # torch's own otherwise
    if own.is_own(name):
        return _own(name, parameters, {"lr": lr, **({"momentum": momentum} if momentum else {}), **decay})
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, [*OPTIMIZERS, "or module:Class, such as torch.optim:Adagrad"])
    match name:
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr, momentum=momentum, fused=True, **decay)
        case "adam":
            return torch.optim.Adam(parameters, lr=lr, fused=True, **decay)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr, momentum=momentum, **decay)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr, fused=True, **decay)
    return torch.optim.NAdam(parameters, lr=lr, **decay)


def _own(name: str, parameters: Iterable[nn.Parameter], settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """An optimizer by the name of its class."""
    made = own.find(name, torch.optim.Optimizer, "an optimizer")
    try:
        return made(parameters, **settings)
    except TypeError as error:
        raise SeqlraError(f"the optimizer {name} cannot be made of {dict(settings)}: {first_line(error)}") from error


def stepper(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """``optimizer.step`` without most of its Python, which on small networks takes longer than the kernel it calls.

    For fused SGD, Adam and AdamW over one group of parameters; of others their own ``step``. The state, the settings of
    the group and every bit of what comes out are the optimizer's own, so it can be saved, loaded and scheduled as ever;
    only hooks on its step are not called. Every parameter must have its ``p.grad``.
    """
    fused = len(optimizer.param_groups) == 1 and optimizer.param_groups[0].get("fused")
    if not fused or optimizer.param_groups[0].get("amsgrad"):
        return optimizer.step
    match optimizer:
        case torch.optim.AdamW():  # in recent versions of torch itself an Adam: it comes first
            return _FusedStep(optimizer, ("exp_avg", "exp_avg_sq"), partial(_adam, torch._fused_adamw_))
        case torch.optim.Adam():
            return _FusedStep(optimizer, ("exp_avg", "exp_avg_sq"), partial(_adam, torch._fused_adam_))
        case torch.optim.SGD():
            momentum = optimizer.param_groups[0]["momentum"]
            return _FusedStep(optimizer, ("momentum_buffer",) if momentum else (), _sgd)
    return optimizer.step


class _FusedStep:
    """Calls the kernel of an optimizer on lists of its own tensors, looked up once rather than at every step.

    Args:
        optimizer: whose.
        names: what its state holds for each parameter, besides the number of steps.
        kernel: takes the group, the parameters, their gradients, by name a list of what the state holds, and the
            numbers of steps.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, names: tuple[str, ...], kernel: Callable[..., None]) -> None:
        self.optimizer, self._names, self._kernel = optimizer, names, kernel
        self._state: Any = None  # the dictionary that was looked up; loading a state puts another in its place
        self._lists: list[list[Tensor]] = []
        self._steps = torch.zeros(0)

    @torch.no_grad()
    def __call__(self) -> None:
        (group,) = self.optimizer.param_groups
        if self.optimizer.state is not self._state:
            if self._names and not self.optimizer.state:
                self.optimizer.step()  # the first makes the state
                self._look_up(group["params"])
                return
            self._look_up(group["params"])
        self._steps.add_(1)
        self._kernel(group, group["params"], [p.grad for p in group["params"]], *self._lists)

    def _look_up(self, parameters: list[nn.Parameter]) -> None:
        self._state = state = self.optimizer.state
        self._lists = [[state[p][name] for p in parameters] for name in self._names]
        if self._names and "step" in state[parameters[0]]:
            # the numbers of steps become parts of one tensor, so that one addition counts them all
            self._steps = torch.stack([state[p]["step"] for p in parameters])
            self._lists.append(list(self._steps.unbind()))
            for p, step in zip(parameters, self._lists[-1], strict=True):
                state[p]["step"] = step


def _adam(
    kernel: Callable[..., None],
    group: dict[str, Any],
    parameters: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
) -> None:
    beta1, beta2 = group["betas"]
    settings = {name: group[name] for name in ("amsgrad", "lr", "weight_decay", "eps", "maximize")}
    kernel(parameters, grads, means, squares, [], steps, beta1=beta1, beta2=beta2, **settings)


def _sgd(group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor], momenta: Sequence[Tensor] = ()) -> None:
    names = ("weight_decay", "momentum", "lr", "dampening", "nesterov", "maximize")
    settings = {name: group[name] for name in names}
    torch._fused_sgd_(parameters, grads, list(momenta), is_first_step=False, **settings)


def with_rates(step: Callable[[], object], parameters: Iterable[nn.Parameter], rates: Tensor) -> Callable[[], object]:
    """Steps of a stack whose models have step sizes of their own: model s goes ``rates[s]`` of the way that ``step``
    takes it.

    This equals an optimizer with that step size, because the step of each of `OPTIMIZERS` is proportional to it, and
    their state does not depend on it.
    """
    moving: list[Tensor] = list(parameters)
    shares = [rates.to(p.dtype).view(-1, *[1] * (p.dim() - 1)) for p in moving]
    before = [torch.empty_like(p) for p in moving]

    @torch.no_grad()
    def run() -> None:
        torch._foreach_copy_(before, moving)
        step()
        for p, old, share in zip(moving, before, shares, strict=True):
            torch.lerp(old, p, share, out=p)

    return run


def lr_at(step: int, total: int, lr: float, schedule: str) -> float:
    """The step size of update ``step`` (from 0) of ``total``: ``lr``, which under ``linear`` falls to 0 at the end."""
    return lr * (1 - step / total) if schedule == "linear" else lr
