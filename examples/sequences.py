"""Sequences of different lengths with one label each: does a sequence begin higher than it ends?"""

import numpy as np

import seqlra

random = np.random.default_rng(0)
lengths = random.integers(4, 11, size=1500)  # (n,)
x = random.normal(size=(1500, 10, 1))  # (n, time, features); what is behind the length of a sequence is padding
labels = (x[:, 0, 0] > x[np.arange(1500), lengths - 1, 0]).astype(np.int64)  # (n,)

# outputs at every step at which a sequence may end; the masked loss asks each only at its own end
output = seqlra.masked("cross-entropy")
nodes = seqlra.elman(1, [32], 2, steps=10, output=output, outputs_at=range(4, 11), across_time=True)
rule = seqlra.LRAFeedback(feedback="learned", window=None, carry="error", c2=None)
graph = seqlra.initialize(seqlra.Graph(nodes), seed=0, weights="orthogonal", feedback="mirror", rule=rule)

train, test = slice(0, 1200), slice(1200, 1500)
seqlra.fit(graph, rule, (x[train], labels[train], lengths[train]), epochs=20, batch_size=20, lr=0.003)
error = seqlra.evaluate(graph, (x[test], labels[test], lengths[test]))["error"]
print(f"wrong: {error:.1f}% of {len(labels[test])}")
