"""Handwritten digits from scikit-learn, classified by a network that LRA trains."""

from sklearn.datasets import load_digits

import seqlra

x, t = load_digits(return_X_y=True)  # numpy: images (1797, 64), classes (1797,)
x = x / 16
graph = seqlra.initialize(seqlra.Graph(seqlra.mlp(64, [64, 64], 10)), seed=0)
seqlra.fit(graph, seqlra.LRAFeedback(), (x[:1300], t[:1300]), valid=(x[1300:1500], t[1300:1500]), epochs=15, lr=0.005)
classes = seqlra.predict(graph, x[1500:]).argmax(-1)
print(f"wrong: {100 * (classes != t[1500:]).mean():.1f}% of {len(classes)}")
