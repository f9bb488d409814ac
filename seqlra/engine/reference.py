"""Algorithms 1 and 2, line by line: one subgraph at a time, in the paper's names.

This is the specification, to be read next to the paper. The engine (`seqlra.engine.update`) computes the same updates
faster, and the tests hold the two equal. Where the paper's line assumes one subgraph above and one below, the
line here sums over however many there are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seqlra.network.graph import Graph, over_units
from seqlra.network.losses import LocalLoss, OutputLoss, asked
from seqlra.network.subgraph import Connection, Subgraph
from seqlra.rules.lra import LRADiff, LRAFeedback
from seqlra.rules.normalize import normalize


@torch.no_grad()
def compute_update_direction(
    graph: Graph, rule: LRAFeedback | LRADiff, inputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """``ComputeUpdateDirection`` of the paper: the update of every parameter, by its name in the state_dict.

    Args:
        graph: one model, without a stack axis.
        rule: `LRAFeedback` or `LRADiff` with its settings.
        inputs: for every `Input` by its full name, ``(batch, units)`` or tokens ``(batch,)``.
        targets: for every output by its full name, ``t``.
    """
    h, z, z_star = _feedforward(graph, inputs)
    delta: dict[str, Tensor] = {}  # dL/dz^l as the subgraphs above see it, before Normalize; leaky units remember it
    y = dict(targets)  # override top-level targets with correct targets from training data
    d: dict[str, Tensor] = {}  # dL_l(z^l, y^l)/dh^l, 0 for the samples at which the while loop ended
    sent: dict[str, Tensor] = {}  # what crosses the connections to the layers below: d, or the error e
    da: dict[str, Tensor] = {}  # the derivative of the same loss by the logit a of a trained leak, sigmoid(a)
    active: dict[str, Tensor] = {}  # 1 for the samples with which the while loop went on

    for sweep in range(1 + (rule.window or 0)):  # with a window, again for every step that errors go back in time
        before = dict(sent) if sweep else {}
        for node in reversed(graph.subgraphs):
            above = [
                (reader, read)
                for reader in graph.subgraphs
                for read in reader.reads
                if read.source == node.name and read.feedback is not None and reader.name in sent
            ]
            if not node.is_output:
                later = _leaked(graph, node, delta)
                if not above and later is None:
                    continue
                came = {r.name: _came(rule, node, r, sent, before) for r, _ in above}
                delta[node.name] = _displacement(graph, rule, above, came)
                if later is not None:
                    delta[node.name] = delta[node.name] + later
                y[node.name] = _target(graph, rule, node, above, h, z, z_star, y, delta[node.name], active)

            # while l >= 1 and L_l(z^l, y^l) >= epsilon
            loss = _loss(node, h[node.name], z[node.name], y[node.name])
            if rule.epsilon_per == "batch":
                loss = loss.mean().expand_as(loss)
            aligned = (loss < rule.threshold(node.is_output)) | (loss.eq(0) & rule.halts)
            active[node.name] = (~aligned).to(z[node.name].dtype).unsqueeze(-1)
            d[node.name], sent[node.name] = (
                error * active[node.name]
                for error in _errors(graph, rule, node, h[node.name], z[node.name], y[node.name])
            )
            if node.trained_leak is not None:
                da[node.name] = _by_logit(graph, rule, node, h, z, z_star, y) * active[node.name]

    return _update_direction(graph, rule, z_star, d, da, targets)


def _feedforward(
    graph: Graph, inputs: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Run feedforward pass to get initial layer-wise statistics."""
    h: dict[str, Tensor] = {}
    z: dict[str, Tensor] = {}
    z_star: dict[str, Tensor] = dict(inputs)
    for node in graph.subgraphs:
        h[node.name] = _pre_activation(graph, node, z_star)
        z[node.name] = _output(graph, node, h[node.name], z_star)
        z_star[node.name] = z[node.name] if node.g is None else node.g.g(z[node.name])
    return h, z, z_star


def _update_direction(
    graph: Graph,
    rule: LRAFeedback | LRADiff,
    z_star: Mapping[str, Tensor],
    d: Mapping[str, Tensor],
    da: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Calculate parameter update direction for layer l, comparing initial guess to target."""
    total = {name: torch.zeros_like(p) for name, p in graph.named_parameters() if not name.startswith("feedback.")}
    predictions = sum(_predictions(node, targets[node.name]) for node in graph.outputs)
    share = 1 / predictions if rule.reduction == "mean" else 1.0
    for node in graph.subgraphs:
        if node.name in d:
            for read in node.reads:
                total[f"weights.{read.weight}"] += share * _outer(z_star[read.source], d[node.name], graph, read)
            if node.bias is not None:
                total[f"biases.{node.bias}"] += share * d[node.name].sum(0)
            if node.trained_leak is not None:
                leak = total[f"leaks.{node.trained_leak}"]
                leak += share * over_units(da[node.name].sum(0), leak)
    for read in (read for node in graph.subgraphs for read in node.reads if read.diagonal):
        total[f"weights.{read.weight}"] = total[f"weights.{read.weight}"].diagonal().diag()
    return {name: normalize(update, rule.c1, tuple(range(update.dim()))) for name, update in total.items()}


def _came(
    rule: LRAFeedback | LRADiff,
    node: Subgraph,
    reader: Subgraph,
    sent: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
) -> Tensor:
    """What a reader sends; in a window, what a later step of the same subgraph sent one sweep ago, 0 at first."""
    if rule.window is None or _without_step(reader) != _without_step(node):
        return sent[reader.name]
    return before.get(reader.name, torch.zeros_like(sent[reader.name]))


def _without_step(node: Subgraph) -> str:
    return node.name.split("[")[0]


def _errors(
    graph: Graph, rule: LRAFeedback | LRADiff, node: Subgraph, h: Tensor, z: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """``d = dL/dh``, and what crosses the connections below: d as in the paper, or with ``carry="error"`` the distance
    to the target over beta, ``e = dL/dz / beta``; then ``d = e * f'(h)``."""
    if rule.carry == "derivative" or node.f is None:
        d = _error(graph, node, h, z, y)
        return d, d
    assert isinstance(node.loss, LocalLoss)
    e = node.loss.gradient(z, y) / rule.beta
    return e * _derivative(graph, node, h), e


def _by_logit(
    graph: Graph,
    rule: LRAFeedback | LRADiff,
    node: Subgraph,
    h: Mapping[str, Tensor],
    z: Mapping[str, Tensor],
    z_star: Mapping[str, Tensor],
    y: Mapping[str, Tensor],
) -> Tensor:
    """``dL/da = dL/dz * alpha (1 - alpha) (f(h_t) - z_{t-1})``, with the target as it is; ``dL/dz`` is that of d."""
    assert isinstance(node.loss, LocalLoss)
    e = node.loss.gradient(z[node.name], y[node.name]) / (rule.beta if rule.carry == "error" else 1)
    alpha = _alpha(graph, node)
    return e * alpha * (1 - alpha) * (_f(node, h[node.name]) - z_star[_step_before(node)])


def _displacement(
    graph: Graph,
    rule: LRAFeedback | LRADiff,
    above: list[tuple[Subgraph, Connection]],
    d: Mapping[str, Tensor],
) -> Tensor:
    """What the subgraphs above send back: ``sum d E``, or ``sum d W^T``."""
    if isinstance(rule, LRAFeedback):
        delta = sum(d[reader.name] @ graph.feedback[read.feedback] for reader, read in above if read.feedback)
    else:
        delta = sum(d[reader.name] @ graph.weights[read.weight].T for reader, read in above)
    return torch.as_tensor(delta)  # 0 where only the leak brings something


def _leaked(graph: Graph, node: Subgraph, delta: Mapping[str, Tensor]) -> Tensor | None:
    """What a leaky unit owes to its own next step, which has the share 1 - alpha of its output: (1 - alpha) delta.

    It is the displacement that crosses the leak, not d or e of the next step: between z_{t+1} and z_t there is no f, so
    a factor f' would be one too many. With linear units, exact E and F and ``carry="error"``, delta is dL/dz, as in
    BPTT.
    """
    after = next((n for n in graph.subgraphs if n.leak is not None and _step_before(n) == node.name), None)
    if after is None or after.name not in delta:
        return None
    return delta[after.name] * (1 - _alpha(graph, after))


def _target(
    graph: Graph,
    rule: LRAFeedback | LRADiff,
    node: Subgraph,
    above: list[tuple[Subgraph, Connection]],
    h: Mapping[str, Tensor],
    z: Mapping[str, Tensor],
    z_star: Mapping[str, Tensor],
    y: Mapping[str, Tensor],
    delta: Tensor,
    active: Mapping[str, Tensor],
) -> Tensor:
    """Find target for layer l - 1.

    The target of a leaky unit is what it would output at the displaced pre-activation, with the state of the step
    before as it is: y_t = (1 - alpha) z_{t-1} + alpha f(h_t - beta delta_t). The weights of step t change h_t only, so
    this is the target that they can reach; the past has targets of its own.
    """
    assert node.f is not None
    h_bar, z_bar, d_bar = h[node.name], z[node.name], {}
    norm_axes = -1 if rule.c2_per == "sample" else (0, 1)
    for _ in range(rule.steps if isinstance(rule, LRADiff) else 1):
        # Calculate pre-activation displacement
        if isinstance(rule, LRADiff):
            if rule.form == "post":  # Lemma 1: y = z - beta * dL/dz
                return z_bar - rule.beta * normalize(delta, rule.c2, norm_axes)
            delta = delta * _derivative(graph, node, h_bar)
        delta = normalize(delta, rule.c2, norm_axes)

        # Recalculate neural activities of subgraph
        h_bar = h_bar - rule.beta * delta
        z_bar = _output(graph, node, h_bar, z_star)
        if not isinstance(rule, LRADiff) or rule.steps == 1:
            return z_bar
        seen = dict(z_star)
        seen[node.name] = z_bar if node.g is None else node.g.g(z_bar)
        for reader, _read in above:
            h_above = _pre_activation(graph, reader, seen)
            error = _error(graph, reader, h_above, _f(reader, h_above), y[reader.name])
            d_bar[reader.name] = error * active[reader.name]
        delta = _displacement(graph, rule, above, d_bar)
    return z_bar  # update variable holding target for subgraph below


def _pre_activation(graph: Graph, node: Subgraph, z_star: Mapping[str, Tensor]) -> Tensor:
    h = sum(_one_hot(z_star[read.source], graph, read) @ graph.weights[read.weight] for read in node.reads)
    assert isinstance(h, Tensor)
    return h if node.bias is None else h + graph.biases[node.bias]


def _one_hot(source: Tensor, graph: Graph, read: Connection) -> Tensor:
    weight = graph.weights[read.weight]
    if source.dtype.is_floating_point:
        return source
    return torch.nn.functional.one_hot(source, weight.shape[0]).to(weight.dtype)


def _outer(source: Tensor, d: Tensor, graph: Graph, read: Connection) -> Tensor:
    """The sum over the samples of a mini-batch of ``z_star d^T``."""
    return torch.einsum("bi,bo->io", _one_hot(source, graph, read), d)


def _predictions(node: Subgraph, t: Tensor) -> int:
    """How many predictions of an output have a target."""
    return int(asked(t).sum()) if isinstance(node.loss, OutputLoss) and node.loss.masks else t.shape[0]


def _f(node: Subgraph, h: Tensor) -> Tensor:
    return node.f.f(h) if node.f is not None else node.loss.f(h)  # type: ignore[union-attr]


def _alpha(graph: Graph, node: Subgraph) -> Tensor:
    """The leak, fixed or trained."""
    if node.trained_leak is not None:
        return torch.sigmoid(graph.leaks[node.trained_leak])
    return next(graph.parameters()).new_tensor(node.leak)


def _output(graph: Graph, node: Subgraph, h: Tensor, z_star: Mapping[str, Tensor]) -> Tensor:
    """``z_t = f(h_t)``; of leaky units ``(1 - alpha) z_{t-1} + alpha f(h_t)``."""
    if node.leak is None:
        return _f(node, h)
    alpha = _alpha(graph, node)
    return (1 - alpha) * z_star[_step_before(node)] + alpha * _f(node, h)


def _derivative(graph: Graph, node: Subgraph, h: Tensor) -> Tensor:
    """``dz/dh = f'(h)``; of leaky units ``alpha f'(h)``."""
    assert node.f is not None
    derivative = node.f.derivative(h, node.f.f(h))
    return derivative if node.leak is None else _alpha(graph, node) * derivative


def _step_before(node: Subgraph) -> str:
    name, _, step = node.name[:-1].partition("[")
    return f"{name}[{int(step) - 1}]"


def _loss(node: Subgraph, h: Tensor, z: Tensor, y: Tensor) -> Tensor:
    return node.loss.value(h if isinstance(node.loss, OutputLoss) else z, y)


def _error(graph: Graph, node: Subgraph, h: Tensor, z: Tensor, y: Tensor) -> Tensor:
    """``dL/dh = dL/dz * f'(h)``; for an output, whose loss owns its f, at once."""
    if isinstance(node.loss, LocalLoss):
        assert node.f is not None
        return node.loss.gradient(z, y) * _derivative(graph, node, h)
    return node.loss.error(z, y)
