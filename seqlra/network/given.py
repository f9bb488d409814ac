"""What a caller gives, as the tensors that a graph computes with: arrays, lists and other types are converted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqlra.errors import SeqlraError, first_line


def tensor_of(given: Any, name: str | None = None) -> Tensor:
    """A tensor as it is; what numpy takes (arrays, lists of numbers, columns of a table) as a tensor on the CPU.

    Raises:
        SeqlraError: it is nothing of the kind.
    """
    if isinstance(given, Tensor):
        return given
    what = "inputs and targets" if name is None else repr(name)
    try:
        array = np.asarray([each.numpy(force=True) for each in given] if _tensors(given) else given)
        return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    except (TypeError, ValueError, RuntimeError) as error:
        raise SeqlraError(
            f"{what} must be a tensor, an array or a list of numbers; "
            f"given: {type(given).__name__} ({first_line(error)})"
        ) from error


def _tensors(given: Any) -> bool:
    return isinstance(given, (list, tuple)) and len(given) > 0 and all(isinstance(each, Tensor) for each in given)


def is_tokens(tensor: Tensor, stack: tuple[int, ...]) -> bool:
    """Whether it holds integers, one a row: ``(*stack, rows)``, where all models may share the rows."""
    return _is_integer(tensor) and tensor.dim() > 0 and tensor.shape[:-1] in ((), stack)


def fit_input(name: str, given: Any, units: int, stack: tuple[int, ...], like: Tensor) -> Tensor:
    """The rows of an input: numbers ``(*stack, rows, units)`` of the type of ``like``, or tokens ``(*stack, rows)``.

    Raises:
        SeqlraError: they are of another shape or kind, or on another device.
    """
    tensor = _placed(f"input {name!r}", given, name, like)
    if is_tokens(tensor, stack):
        return tensor.long()
    fits = tensor.dim() > 1 and tensor.shape[:-2] in ((), stack) and tensor.shape[-1] == units
    if fits and tensor.is_floating_point():
        return tensor.to(like.dtype)
    axes = "(rows, " if not stack else f"(rows, {units}) or ({stack[0]}, rows, "
    raise SeqlraError(
        f"input {name!r} takes rows of {units} numbers, or one integer a row for tokens: {axes}{units}) or (rows,); "
        f"given: a tensor of shape {tuple(tensor.shape)} of {tensor.dtype}"
        + ("; make it .float(), images / 255" if fits else "")
    )


def fit_target(name: str, given: Any, units: int, stack: tuple[int, ...], classes: bool, like: Tensor) -> Tensor:
    """The rows of a target: class indices ``(*stack, rows)`` where the loss takes ``classes``, or vectors
    ``(*stack, rows, units)`` of the type of ``like``.

    Raises:
        SeqlraError: they are of another shape or kind, or on another device.
    """
    tensor = _placed(f"the target of {name!r}", given, name, like)
    if classes and is_tokens(tensor, stack):
        return tensor.long()
    if tensor.dim() > 1 and tensor.shape[:-2] in ((), stack) and tensor.shape[-1] == units and not tensor.is_complex():
        return tensor.to(like.dtype)
    kinds = f"vectors of {units}, (rows, {units})," + (" or class indices (integers), (rows,)," if classes else "")
    shape = f"{tuple(tensor.shape)} of {tensor.dtype}"
    raise SeqlraError(f"the output {name!r} takes {kinds} as targets; given: {shape}")


def _placed(what: str, given: Any, name: str, like: Tensor) -> Tensor:
    """A tensor on the device of ``like``; arrays and lists are moved there, a tensor stays where its owner put it."""
    tensor = given if isinstance(given, Tensor) else tensor_of(given, name).to(like.device)
    if like.is_meta:
        raise SeqlraError("the graph is on the meta device and has no numbers; graph.to_empty(...), then initialize it")
    if tensor.device != like.device:
        raise SeqlraError(f"{what} is on {tensor.device}, the graph on {like.device}; move one of them with .to()")
    if tensor.is_nested or tensor.layout != torch.strided:
        raise SeqlraError(f"{what} is sparse or nested; accepted: dense tensors of one length")
    return tensor


def _is_integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())
